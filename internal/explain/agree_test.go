// SPDX-License-Identifier: Apache-2.0

package explain_test

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
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
	"eastwest/internal/kernel/ipvs/ipvstest"
	"eastwest/internal/kernel/netns/netnstest"
	"eastwest/internal/kernel/nft"
	"eastwest/internal/table"
)

// What is explained is what becomes of real packets, in every case of the suite and on every backend that this kernel has.
func TestExplanationsAgreeWithPackets(t *testing.T) {
	for _, backend := range carriers {
		t.Run(backend.name, func(t *testing.T) {
			netnstest.RequireProgram(t, "iptables-restore")
			if err := ipvskernel.Check(); backend.name == "ipvs" && err != nil {
				t.Skip(err)
			}
			conformance.Explained(t, func(t *testing.T, path string, node dataplane.Node) dataplane.Dataplane[table.Service] {
				return backend.make(t, path, node, ipvskernel.New(path))
			}, explained, conformance.Exception{Case: "affinity-ends", Reason: "asks nothing that is explained"},
				conformance.Exception{Case: "tcp-node-port-changed", Reason: "asks nothing that is explained"})
		})
	}
}

// What tables say, what is explained and what becomes of packets is the same for each source, kind of address, policy, state
// of endpoints, protocol and family, on every backend. Without IPVS in the kernel, its virtual servers are in memory and no
// packet is sent.
func TestMatrix(t *testing.T) {
	for _, backend := range carriers {
		t.Run(backend.name, func(t *testing.T) {
			netnstest.RequireProgram(t, "iptables-restore")
			var state *cached
			packets := backend.name != "ipvs" || ipvskernel.Check() == nil
			conformance.Matrix(t, func(t *testing.T, path string, node dataplane.Node) dataplane.Dataplane[table.Service] {
				var servers ipvs.Servers = &ipvstest.Fake{}
				if packets {
					servers = ipvskernel.New(path)
				}
				kernel, err := forward.Open(path, t.TempDir())
				check(t, err)
				t.Cleanup(func() { kernel.Close() })
				state = &cached{kernel: kernel, sources: explain.Sources{Rules: nft.New(path), Servers: servers, Chains: iptableskernel.New(path)}}
				return backend.make(t, path, node, servers)
			}, func(t *testing.T, _ string, from netip.Addr, to netip.AddrPort, network string) (string, []netip.AddrPort) {
				return state.explained(t, from, to, network)
			}, packets)
		})
	}
}

var carriers = []struct {
	name string
	make func(t *testing.T, path string, node dataplane.Node, servers ipvs.Servers) dataplane.Dataplane[table.Service]
}{
	{"nftables", func(t *testing.T, path string, node dataplane.Node, _ ipvs.Servers) dataplane.Dataplane[table.Service] {
		backend, err := nftables.New(nftables.Config{Node: node, Kernel: nft.New(path), Log: slog.New(slog.DiscardHandler)})
		check(t, err)
		return backend
	}},
	{"iptables", func(t *testing.T, path string, node dataplane.Node, _ ipvs.Servers) dataplane.Dataplane[table.Service] {
		backend, err := iptables.New(iptables.Config{Node: node, Kernel: iptableskernel.New(path), Log: slog.New(slog.DiscardHandler)})
		check(t, err)
		return backend
	}},
	{"ipvs", func(t *testing.T, path string, node dataplane.Node, servers ipvs.Servers) dataplane.Dataplane[table.Service] {
		backend, err := ipvs.New(ipvs.Config{
			Node: node, Servers: servers, Device: ipvskernel.NewDevice(path), Rules: nft.New(path), Log: slog.New(slog.DiscardHandler),
		})
		check(t, err)
		return backend
	}},
}

// explained reads the kernel of the node at path.
func explained(t *testing.T, path string, from netip.Addr, to netip.AddrPort, network string) (string, []netip.AddrPort) {
	t.Helper()
	kernel, err := forward.Open(path, t.TempDir())
	check(t, err)
	defer kernel.Close()
	servers := ipvskernel.New(path)
	defer servers.Close()
	return answer(t, explain.New(kernel, explain.Sources{Rules: nft.New(path), Servers: servers, Chains: iptableskernel.New(path)}), from, to, network)
}

func answer(t *testing.T, by *explain.Explainer, from netip.Addr, to netip.AddrPort, network string) (string, []netip.AddrPort) {
	t.Helper()
	source := ""
	if from.IsValid() {
		source = from.String()
	}
	question, err := explain.Parse(source, to.String()+"/"+network)
	check(t, err)
	way, err := by.Explain(t.Context(), question)
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

// cached reads each table of a kernel that does not change once.
type cached struct {
	kernel  explain.Kernel
	sources explain.Sources

	mu       sync.Mutex
	listings map[string]string
	elements map[string][]nft.Element
	chains   map[string]map[iptableskernel.Chain][]string
	errs     map[string]error
}

func (c *cached) explained(t *testing.T, from netip.Addr, to netip.AddrPort, network string) (string, []netip.AddrPort) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.errs == nil {
		c.listings, c.elements, c.errs = map[string]string{}, map[string][]nft.Element{}, map[string]error{}
		c.chains = map[string]map[iptableskernel.Chain][]string{}
	}
	return answer(t, explain.New(c.kernel, explain.Sources{Rules: c, Servers: c.sources.Servers, Chains: c}), from, to, network)
}

func (c *cached) List(ctx context.Context, family nft.Family, name string) (string, error) {
	key := "list " + string(family) + name
	if _, ok := c.errs[key]; !ok {
		c.listings[key], c.errs[key] = c.sources.Rules.List(ctx, family, name)
	}
	return c.listings[key], c.errs[key]
}

func (c *cached) Elements(ctx context.Context, family nft.Family, name, set string) ([]nft.Element, error) {
	key := "set " + string(family) + name + set
	if _, ok := c.errs[key]; !ok {
		c.elements[key], c.errs[key] = c.sources.Rules.Elements(ctx, family, name, set)
	}
	return c.elements[key], c.errs[key]
}

func (c *cached) Chains(ctx context.Context, family iptableskernel.Family, tables []string, wanted func(string) bool) (map[iptableskernel.Chain][]string, error) {
	key := "chains " + string(family)
	if _, ok := c.errs[key]; !ok {
		c.chains[key], c.errs[key] = c.sources.Chains.Chains(ctx, family, tables, wanted)
	}
	return c.chains[key], c.errs[key]
}
