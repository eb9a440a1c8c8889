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

// inMemory makes a backend on kernels in memory.
func inMemory(t interface{ Fatal(...any) }, servers *ipvstest.Fake, rules *nfttest.Fake) *ipvs.Backend {
	servers.Elsewhere = []netip.Addr{netip.MustParseAddr("172.18.0.2"), netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("fd00:172::2")}
	backend, err := ipvs.New(ipvs.Config{
		Servers: servers, Device: servers.Device(), Rules: rules, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return backend
}

func TestHistories(t *testing.T) {
	conformance.Histories(t, func(t *rapid.T, fail func() error) (dataplane.Dataplane[table.Service], func()) {
		servers, rules := &ipvstest.Fake{Fail: fail}, &nfttest.Fake{Fail: fail}
		flush := rules.Flush
		if rapid.Bool().Draw(t, "flush IPVS") {
			flush = servers.Flush
		}
		return inMemory(t, servers, rules), flush
	})
}

func TestRefusals(t *testing.T) {
	conformance.Refusals(t, func(t *rapid.T, refuse func(string) error) conformance.Probed {
		return inMemory(t, &ipvstest.Fake{}, &nfttest.Fake{Refuse: refuse})
	})
}

func TestHistoriesOnTheKernel(t *testing.T) {
	requireIPVS(t)
	conformance.KernelHistories(t, func(t *testing.T, ns string) dataplane.Dataplane[table.Service] {
		return onKernel(t, ns, kernel.NewDevice(ns), conformance.Config{})
	})
}

// onKernel makes a backend on the kernel of a network namespace.
func onKernel(t testing.TB, ns string, device ipvs.Device, config conformance.Config) *ipvs.Backend {
	t.Helper()
	servers := kernel.New(ns)
	t.Cleanup(servers.Close)
	backend, err := ipvs.New(ipvs.Config{
		Servers: servers, Device: device, Rules: nft.New(ns), Log: slog.New(slog.DiscardHandler),
		Local: config.Local, ServiceCIDRs: config.ServiceCIDRs, NodePortAddresses: config.NodePortAddresses,
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
