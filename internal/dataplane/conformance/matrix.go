// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"eastwest/internal/compile"
	"eastwest/internal/snapshot"
	"eastwest/internal/table"
)

// Matrix has Services of both families with every traffic policy, state of endpoints and protocol in a node at once, each with
// every kind of address, and asks each address from a pod, from an endpoint, from the node and from outside. What the table
// says, what is explained from the kernel, and what real packets meet has to be the same. Where packets cannot be carried,
// the first two are compared.
func Matrix(t *testing.T, make Maker, explain Explain, packets bool) {
	l := newLab(t)
	for _, pod := range []host{l.a, l.b, l.c} {
		serve(t, pod, 80)
		serveAssociations(t, pod)
	}
	s := &scene{t: t, lab: l}
	for _, prefix := range prefixes("10.96.0.0/12", "198.19.0.0/16", "fd00:96::/108", "2001:db8:2::/48", "2001:db8:3::/48") {
		via := netip.MustParseAddr(outsideIP)
		if prefix.Addr().Is6() {
			via = netip.MustParseAddr("2001:db8::2")
		}
		inNode(s, func() error { return addRoute("voutside", prefix, via) })
	}
	inNode(s, func() error { // else few would be told that they are refused
		return errors.Join(set("net/ipv4/icmp_ratelimit", "0"), set("net/ipv6/icmp/ratelimit", "0"))
	})
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) {
			config := standard()
			if v.undetected {
				config.Local.CIDRs = nil
			}
			s := &scene{t: t, lab: l, dataplane: make(t, l.node.netns, config)}
			t.Cleanup(s.cleanUp)
			rows := generated(v)
			s.apply(slices.Collect(maps.Values(maps.Collect(rows.All())))...)
			m := &matrix{scene: s, services: newServices(rows, config, nodeIP, nodeIP6), explain: explain, packets: packets}
			m.run()
		})
	}
}

// variant is how a proxy may be configured.
type variant struct {
	name          string
	masqueradeAll bool
	undetected    bool // pods are not told from others
	protocols     []table.Protocol
}

var variants = []variant{
	{name: "standard", protocols: []table.Protocol{table.TCP, table.UDP, table.SCTP}},
	{name: "masquerade-all", masqueradeAll: true, protocols: []table.Protocol{table.TCP}},
	{name: "undetected", undetected: true, protocols: []table.Protocol{table.TCP}},
	{name: "undetected-masquerade-all", undetected: true, masqueradeAll: true, protocols: []table.Protocol{table.TCP}},
}

// generated compiles a Service for each combination.
func generated(v variant) table.Table[table.Service] {
	store := snapshot.NewStore()
	store.PutNode(&snapshot.Node{Name: "node", Addrs: addrs(nodeIP, nodeIP6)})
	n := 0
	for _, protocol := range v.protocols {
		for _, internal := range []bool{false, true} {
			for _, external := range []bool{false, true} {
				for _, state := range states {
					put(store, n, protocol, internal, external, state)
					n++
				}
			}
		}
	}
	now, changes := store.Take()
	config := standard()
	tables, _ := compile.New(compile.Config{
		NodeName: "node", NodeIPs: addrs(nodeIP, nodeIP6), ClusterCIDRs: config.Local.CIDRs,
		MasqueradeAll: v.masqueradeAll, NoNames: true, NoAnnounce: true,
	}).Update(now, changes)
	return tables.Services
}

// states are of the endpoints: a is on the node, b and c are elsewhere.
var states = []struct{ name, ready, leaving, unready string }{
	{name: "none"},
	{name: "everywhere", ready: "abc"},
	{name: "here", ready: "a"},
	{name: "elsewhere", ready: "bc"},
	{name: "here leaving", leaving: "a"},
	{name: "here leaving, others elsewhere", leaving: "a", ready: "b"},
	{name: "elsewhere leaving", leaving: "bc"},
	{name: "all leaving", leaving: "ab"},
	{name: "not ready", unready: "abc"},
}

func put(store *snapshot.Store, n int, protocol table.Protocol, internal, external bool, state struct{ name, ready, leaving, unready string }) {
	name := fmt.Sprintf("s%d", n)
	low := func(format string) netip.Addr { return netip.MustParseAddr(fmt.Sprintf(format, n+1)) }
	service := &snapshot.Service{
		Namespace: "default", Name: name, IPv4: true, IPv6: true, InternalLocal: internal, ExternalLocal: external,
		ClusterIPs:  []netip.Addr{low("10.96.1.%d"), low("fd00:96::1:%d")},
		ExternalIPs: []netip.Addr{low("198.19.1.%d"), low("2001:db8:2::%d")}, LoadBalancerIPs: []netip.Addr{low("198.19.2.%d"), low("2001:db8:3::%d")},
		Ports: []snapshot.Port{{Name: "http", Protocol: protocol, Port: 8080, NodePort: uint16(30000 + n)}},
	}
	if n%2 == 1 {
		service.SourceRanges = prefixes("10.244.0.0/24", "fd00:10::/64")
	}
	store.PutService(service)
	for i, format := range []string{"10.244.%s", "fd00:10:0:%s"} {
		slice := &snapshot.Slice{
			Namespace: "default", Name: fmt.Sprint(name, "-", i), Service: name, IPv6: i == 1,
			Ports: []snapshot.SlicePort{{Name: "http", Protocol: protocol, Port: 80}},
		}
		for j, suffixes := range [][]string{{"0.2", "0::2"}, {"1.2", "1::2"}, {"1.3", "1::3"}} {
			letter, node := string(rune('a'+j)), []string{"node", "other", "other"}[j]
			e := snapshot.Endpoint{Addrs: addrs(fmt.Sprintf(format, suffixes[i])), Node: node}
			e.Ready = strings.Contains(state.ready, letter)
			e.Terminating = strings.Contains(state.leaving, letter)
			e.Serving = e.Ready || e.Terminating
			if e.Serving || strings.Contains(state.unready, letter) {
				slice.Endpoints = append(slice.Endpoints, e)
			}
		}
		store.PutSlice(slice)
	}
}

func addrs(list ...string) (out []netip.Addr) {
	for _, text := range list {
		out = append(out, netip.MustParseAddr(text))
	}
	return out
}

type matrix struct {
	*scene
	services *services
	explain  Explain
	packets  bool
	raw      sync.Map // a mutex for each host and address: a refusal is told to every raw socket that asked there
}

const (
	together = 24 // questions that are asked at a time
	tries    = 10
)

func (m *matrix) run() {
	var asking sync.WaitGroup
	slots := make(chan bool, together)
	count := 0
	for _, row := range m.services.rows.All() {
		for _, f := range row.Frontends {
			for _, to := range m.places(f) {
				for _, from := range []host{m.lab.client, m.lab.a, m.lab.node, m.lab.other} {
					slots <- true
					count++
					asking.Go(func() {
						m.ask(from, to, f.Protocol)
						<-slots
					})
				}
			}
		}
	}
	asking.Wait()
	m.t.Logf("%d questions", count)
	if count < 1000 {
		m.t.Errorf("%d questions are too few to be all", count)
	}
}

// places returns where a frontend is asked, and a port that no service has.
func (m *matrix) places(f table.Frontend) []netip.AddrPort {
	if f.View == table.Outside {
		return nil // the same places as of everyone
	}
	at := netip.AddrPortFrom(f.Addr, f.Port)
	switch {
	case f.Kind == table.ClusterIP:
		return []netip.AddrPort{at, netip.AddrPortFrom(f.Addr, f.Port+1)}
	case f.Kind == table.NodePort && f.Addr.Is4():
		return []netip.AddrPort{netip.AddrPortFrom(netip.MustParseAddr(nodeIP), f.Port)}
	case f.Kind == table.NodePort:
		return []netip.AddrPort{netip.AddrPortFrom(netip.MustParseAddr(nodeIP6), f.Port)}
	}
	return []netip.AddrPort{at}
}

// ask compares the three.
func (m *matrix) ask(from host, to netip.AddrPort, protocol table.Protocol) {
	p := packet{from: from.in(to.Addr()), pod: from.name != m.lab.other.name && from.name != m.lab.node.name, to: to, protocol: protocol}
	want, ok := m.services.of(p)
	if !ok {
		m.t.Errorf("%s asks %s %s: no service has it", from.name, protocol, to)
		return
	}
	what := fmt.Sprintf("%s asks %s %s (%s): the table says %s %v", from.name, protocol, to, m.names(to), want.action, want.endpoints)
	if m.explain != nil {
		action, endpoints := m.explain(m.t, m.lab.node.netns, p.from, to, protocol.String())
		slices.SortFunc(endpoints, netip.AddrPort.Compare)
		if action != explanation[want.action] || want.action == table.Forward && !slices.Equal(endpoints, want.endpoints) {
			m.t.Errorf("%s, the explanation %q %v", what, action, endpoints)
		}
	}
	if !m.packets {
		return
	}
	expected := m.answers(from, p, want)
	wait := map[table.Action]time.Duration{table.Forward: patience, table.Reject: time.Second, table.Drop: silence}[want.action]
	for range len(expected) {
		answer := m.answer(from, protocol, to, wait)
		for try := 0; try < tries && answer == "silence" && want.action == table.Reject && protocol != table.TCP; try++ {
			answer = m.answer(from, protocol, to, wait) // a kernel sends so many refusals a second, and no more
		}
		if from.name == m.lab.node.name {
			answer, _, _ = strings.Cut(answer, " ") // which of its addresses a node takes is its routes' business
		}
		if !slices.Contains(expected, answer) {
			m.t.Errorf("%s, so %q, a packet met %q", what, expected, answer)
			return
		}
	}
}

var explanation = map[table.Action]string{table.Forward: "forward", table.Reject: "refuse", table.Drop: "drop"}

// names says which service a place belongs to.
func (m *matrix) names(to netip.AddrPort) string {
	for at, list := range m.services.frontends {
		if at.at == to || at.at.Addr().IsUnspecified() && at.at.Port() == to.Port() {
			return list[0].service.Key()
		}
	}
	return "unused"
}

// answers returns what a packet may meet.
func (m *matrix) answers(from host, p packet, want fate) (out []string) {
	switch want.action {
	case table.Reject:
		return []string{"refused"}
	case table.Drop:
		if from.name == m.lab.node.name && p.protocol != table.TCP {
			return []string{"silence", "refused"} // the sender itself is told that its datagram did not leave
		}
		return []string{"silence"}
	}
	for _, endpoint := range want.endpoints {
		for _, pod := range []host{m.lab.a, m.lab.b, m.lab.c} {
			if !slices.Contains(pod.addrs, endpoint.Addr()) {
				continue
			}
			source := p.from
			if want.masquerade != nil && want.masquerade(endpoint) {
				source = netip.MustParseAddr(gateway)
				if p.to.Addr().Is6() {
					source = netip.MustParseAddr(nodeIP6)
				}
			}
			if from.name == m.lab.node.name {
				out = append(out, pod.name)
			} else {
				out = append(out, pod.name+" "+source.String())
			}
		}
	}
	return out
}

func (m *matrix) answer(from host, protocol table.Protocol, to netip.AddrPort, wait time.Duration) string {
	if protocol == table.SCTP {
		return m.associate(from, to, wait)
	}
	conn, err := dial(from, protocol.String(), to.String(), wait)
	if err != nil {
		return outcome(err)
	}
	defer conn.Close()
	return converseWithin(conn, wait)
}
