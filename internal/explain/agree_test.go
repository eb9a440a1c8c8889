// SPDX-License-Identifier: Apache-2.0

package explain_test

import (
	"log/slog"
	"net/netip"
	"testing"

	"eastwest/internal/dataplane"
	"eastwest/internal/dataplane/conformance"
	"eastwest/internal/dataplane/services/iptables"
	"eastwest/internal/dataplane/services/ipvs"
	"eastwest/internal/dataplane/services/nftables"
	"eastwest/internal/explain"
	"eastwest/internal/kernel/forward"
	iptableskernel "eastwest/internal/kernel/iptables"
	ipvskernel "eastwest/internal/kernel/ipvs"
	"eastwest/internal/kernel/netns/netnstest"
	"eastwest/internal/kernel/nft"
	"eastwest/internal/table"
)

// What is explained is what becomes of real packets, in every case of the suite and on every backend that this kernel has.
func TestExplanationsAgreeWithPackets(t *testing.T) {
	type maker = func(path string, node dataplane.Node) (dataplane.Dataplane[table.Service], error)
	for name, make := range map[string]maker{
		"nftables": func(path string, node dataplane.Node) (dataplane.Dataplane[table.Service], error) {
			return nftables.New(nftables.Config{Node: node, Kernel: nft.New(path), Log: slog.New(slog.DiscardHandler)})
		},
		"iptables": func(path string, node dataplane.Node) (dataplane.Dataplane[table.Service], error) {
			return iptables.New(iptables.Config{Node: node, Kernel: iptableskernel.New(path), Log: slog.New(slog.DiscardHandler)})
		},
		"ipvs": func(path string, node dataplane.Node) (dataplane.Dataplane[table.Service], error) {
			return ipvs.New(ipvs.Config{
				Node: node, Servers: ipvskernel.New(path), Device: ipvskernel.NewDevice(path), Rules: nft.New(path), Log: slog.New(slog.DiscardHandler),
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			netnstest.RequireProgram(t, "iptables-restore")
			if err := ipvskernel.Check(); name == "ipvs" && err != nil {
				t.Skip(err)
			}
			conformance.Explained(t, func(t *testing.T, path string, node dataplane.Node) dataplane.Dataplane[table.Service] {
				backend, err := make(path, node)
				check(t, err)
				return backend
			}, explained, conformance.Exception{Case: "affinity-ends", Reason: "asks nothing that is explained"})
		})
	}
}

// explained reads the kernel of the node at path.
func explained(t *testing.T, path string, from netip.Addr, to netip.AddrPort, network string) (string, []netip.AddrPort) {
	t.Helper()
	kernel, err := forward.Open(path, t.TempDir())
	check(t, err)
	defer kernel.Close()
	servers := ipvskernel.New(path)
	defer servers.Close()
	source := ""
	if from.IsValid() {
		source = from.String()
	}
	question, err := explain.Parse(source, to.String()+"/"+network)
	check(t, err)
	way, err := explain.New(kernel, explain.Sources{Rules: nft.New(path), Servers: servers, Chains: iptableskernel.New(path)}).Explain(t.Context(), question)
	check(t, err)
	if way.Service == nil {
		return "", nil
	}
	var targets []netip.AddrPort
	for _, target := range way.Targets {
		if endpoint, err := netip.ParseAddrPort(target.Address); err == nil {
			targets = append(targets, endpoint)
		}
	}
	return way.Service.Action, targets
}
