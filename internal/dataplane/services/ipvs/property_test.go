// SPDX-License-Identifier: Apache-2.0

package ipvs_test

import (
	"log/slog"
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"eastwest/internal/dataplane"
	"eastwest/internal/dataplane/conformance"
	"eastwest/internal/dataplane/services/ipvs"
	kernel "eastwest/internal/kernel/ipvs"
	"eastwest/internal/kernel/ipvs/ipvstest"
	"eastwest/internal/kernel/nft"
	"eastwest/internal/kernel/nft/nfttest"
	"eastwest/internal/table"
)

func TestHistories(t *testing.T) {
	conformance.Histories(t, func(t *rapid.T, fail func() error) (dataplane.Dataplane[table.Service], func()) {
		servers, rules := &ipvstest.Fake{Fail: fail}, &nfttest.Fake{Fail: fail}
		flush := rules.Flush
		if rapid.Bool().Draw(t, "flush IPVS") {
			flush = servers.Flush
		}
		return withRules(t, servers, rules, dataplane.Node{}), flush
	})
}

func TestRefusals(t *testing.T) {
	conformance.Refusals(t, func(t *rapid.T, refuse func(string) error) conformance.Probed {
		return withRules(t, &ipvstest.Fake{}, &nfttest.Fake{Refuse: refuse}, dataplane.Node{})
	})
}

func TestHistoriesOnTheKernel(t *testing.T) {
	requireIPVS(t)
	conformance.KernelHistories(t, func(t *testing.T, ns string) dataplane.Dataplane[table.Service] {
		return onKernel(t, ns, kernel.NewDevice(ns), dataplane.Node{})
	})
}

// onKernel makes a backend on the kernel of a network namespace.
func onKernel(t testing.TB, ns string, device ipvs.Device, config dataplane.Node) *ipvs.Backend {
	t.Helper()
	servers := kernel.New(ns)
	t.Cleanup(servers.Close)
	backend, err := ipvs.New(ipvs.Config{
		Servers: servers, Device: device, Rules: nft.New(ns), Log: slog.New(slog.DiscardHandler),
		Node: config,
	})
	if err != nil {
		t.Fatal(err)
	}
	return backend
}

// requireIPVS skips the test on kernels without IPVS; `make qemu-test` runs it on one that has it.
func requireIPVS(t *testing.T) {
	t.Helper()
	if err := kernel.Check(); err != nil {
		t.Skip(err)
	}
}

// The rules' part alone, on the kernel's nftables: after each step it holds what a full sync from nothing would have written.
func TestHistoriesOfRulesOnTheKernel(t *testing.T) {
	fakes := map[string]*ipvstest.Fake{}
	conformance.KernelHistories(t, func(t *testing.T, ns string) dataplane.Dataplane[table.Service] {
		if fakes[ns] == nil {
			fakes[ns] = &ipvstest.Fake{}
		}
		return withRules(t, fakes[ns], nft.New(ns), dataplane.Node{})
	})
}

// withRules makes a backend with IPVS in memory.
func withRules(t interface{ Fatal(args ...any) }, servers *ipvstest.Fake, rules ipvs.Rules, config dataplane.Node) *ipvs.Backend {
	servers.Elsewhere = []netip.Addr{netip.MustParseAddr("172.18.0.2"), netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("fd00:172::2")}
	backend, err := ipvs.New(ipvs.Config{
		Servers: servers, Device: servers.Device(), Rules: rules, Log: slog.New(slog.DiscardHandler),
		Node: config,
	})
	if err != nil {
		t.Fatal(err)
	}
	return backend
}
