// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"fmt"
	"strings"

	"eastwest/internal/dataplane"
	"eastwest/internal/dataplane/nftrules"
	"eastwest/internal/kernel/nft"
)

// program is the constant part of the table in one family: chains, rules and empty maps. It depends on the
// configuration and on the shape of the services, never on which there are.
type program struct {
	dataplane.NodeView
	family nft.Family
	shape  shape
	// written is how nft listed the table right after it was written: versions of nft spell some rules differently.
	written string
}

// loopback6 serves no node ports: an answer could not leave the loopback interface.
const loopback6 = "::1"

// script returns the transaction that makes the kernel's table, which nft lists so, equal to the program and keeps the elements
// of its maps.
func (p program) script(listing string) string {
	return nftrules.Script(p.family, TableName, p.text(), listing)
}

// replacement returns the transaction that writes the table anew, without elements.
func (p program) replacement() string { return nftrules.Replacement(p.family, TableName, p.text()) }

// text returns the table as nft lists it.
func (p program) text() string {
	var w nftrules.Writer
	w.Open("table %s %s", p.family, TableName)
	p.sets(&w)
	p.slots(&w)
	p.sticky(&w)
	p.dispatch(&w)
	p.hooks(&w)
	w.Close()
	return w.String()
}

// key returns the expression that looks a group's frontends up, and its type.
func (p program) key(g group) (expression, kind string) {
	match, addr := nftrules.Family(p.family)
	if g.byPort() {
		return "meta l4proto . th dport", "inet_proto . inet_service"
	}
	return nftrules.Frontend(match), addr + " . inet_proto . inet_service"
}

func (p program) sets(w *nftrules.Writer) {
	_, addr := nftrules.Family(p.family)
	for _, m := range frontendMaps {
		_, kind := p.key(m.group)
		w.Open("map %s", m.name)
		w.Line("type %s : classid", kind)
		w.Line("comment %q", m.comment)
		w.Close()
	}
	for g := range groups {
		_, kind := p.key(g)
		w.Open("map %s", endpointMap(g))
		w.Line("type %s . classid : %s . inet_service", kind, addr)
		w.Line("comment \"frontend . slot : endpoint\"")
		w.Close()
		p.verdicts(w, g)
		if len(p.shape.timeouts[g]) > 0 {
			p.affinity(w, g)
		}
	}
	w.Open("set %s", setAddress)
	w.Line("type %s", addr)
	w.Line("comment \"virtual addresses: ports that no service has are refused\"")
	w.Close()
	w.Open("set %s", setElsewhere)
	w.Line("type %s", addr)
	w.Line("comment \"virtual addresses that another proxy serves\"")
	w.Close()
	w.Open("set %s", setHairpin)
	w.Line("type %s . %s", addr, addr)
	w.Line("comment \"endpoints on this node, which may reach themselves\"")
	w.Close()
	w.Open("set %s", setSocket)
	w.Line("type %s . inet_proto . inet_service", addr)
	w.Line("comment \"taken by a socket of this node while there is one\"")
	w.Close()
	w.Open("set %s", setRanged)
	w.Line("type %s . inet_proto . inet_service", addr)
	w.Close()
	w.Open("set %s", setAllowed)
	w.Line("type %s . inet_proto . inet_service . %s", addr, addr)
	w.Line("flags interval")
	w.Line("comment \"source ranges of load balancers\"")
	w.Close()
}

// verdicts writes the constant map from a frontend's number to the chain that draws.
func (p program) verdicts(w *nftrules.Writer, g group) {
	w.Open("map %s", drawMap(g))
	w.Line("type classid : verdict")
	w.Line("comment \"number of the draw : chain that draws an endpoint\"")
	w.Line("elements = { %s }", strings.Join(p.draws(g), ",\n\t\t\t     "))
	w.Close()
}

// draws returns the elements of the map from a frontend's number to the chain that draws.
func (p program) draws(g group) []string {
	elements := []string{"none : goto refuse", classID(dropped) + " : drop"}
	for d := range p.shape.draws(g) {
		elements = append(elements, fmt.Sprintf("%s : goto %s", classID(uint32(d)), drawChain(g, d.slots())))
		for _, seconds := range p.shape.timeouts[g] {
			elements = append(elements, fmt.Sprintf("%s : goto %s", classID(seconds<<drawBits|uint32(d)), stickyChain(g, d.slots(), seconds)))
		}
	}
	return elements
}

// slots writes the chains that draw a slot and translate to the endpoint in it.
func (p program) slots(w *nftrules.Writer) {
	nftrules.Refuse(w)
	for g := range groups {
		for d := range p.shape.draws(g) {
			w.Open("chain %s", drawChain(g, d.slots()))
			for _, slot := range d.tries() {
				w.Line("meta priority set %s %s", slot, p.translate(g))
			}
			nowhere(w)
			w.Close()
		}
	}
}

// nowhere writes the rule behind all draws: while a table is filled its slots are empty, and a connection that passed
// untranslated would stay so; one that is dropped is tried again by its client.
func nowhere(w *nftrules.Writer) { w.Line("drop") }

// translate returns the statement that sends a packet to the endpoint in the slot that its priority names. In an empty slot
// the rule ends without effect.
func (p program) translate(g group) string {
	key, _ := p.key(g)
	return fmt.Sprintf("dnat %s to %s . meta priority map @%s", p.family, key, endpointMap(g))
}

// lookup writes the rule that finds a frontend. The number, and then the slot, go through the packet's priority because no
// other register can be named between two lookups; only packets to services have it changed, and forwarding sets it anew.
func (p program) lookup(w *nftrules.Writer, m frontendMap) {
	key, _ := p.key(m.group)
	w.Line("meta priority set %s map @%s meta priority vmap @%s", key, m.name, drawMap(m.group))
}

// dispatch writes the chains that look frontends up, in the order in which masquerading widens: never, from outside the
// cluster, always.
func (p program) dispatch(w *nftrules.Writer) {
	match, _ := nftrules.Family(p.family)
	local := p.nodePortAddresses()

	w.Open("chain node-ports")
	p.lookup(w, nodePort)
	w.Line("meta mark set meta mark & %s", nftrules.MarkRest)
	p.markOutside(w)
	p.lookup(w, nodePortInside)
	w.Line("meta mark set meta mark & %s", nftrules.MarkRest)
	w.Close()

	w.Open("chain from-outside")
	p.lookup(w, externalOutside)
	if local != "" {
		w.Line("%s goto node-ports-from-outside", local)
	}
	w.Close()

	w.Open("chain services")
	p.markOutside(w)
	p.lookup(w, serviceIP)
	w.Line("meta mark set meta mark | %s", nftrules.MarkBit)
	p.lookup(w, externalIP)
	w.Line("%s daddr @%s goto refuse", match, setAddress)
	nftrules.Unused(w, match, p.Services, setElsewhere)
	if local != "" {
		w.Line("%s goto node-ports", local)
	}
	if len(p.Loopback) > 0 {
		w.Line("%s daddr %s fib daddr type local goto node-ports", match, nftrules.PrefixSet(p.Loopback))
	}
	w.Line("meta mark set meta mark & %s", nftrules.MarkRest)
	w.Close()
}

// nodePortAddresses returns the match for the addresses that serve node ports; empty when none does.
func (p program) nodePortAddresses() string {
	match, _ := nftrules.Family(p.family)
	loopback := dataplane.Loopback.String()
	if p.family == nft.IPv6 {
		loopback = loopback6
	}
	text := fmt.Sprintf("%s daddr != %s fib daddr type local", match, loopback)
	switch {
	case p.NoNodes:
		return ""
	case len(p.Nodes) > 0:
		return fmt.Sprintf("%s daddr %s %s", match, nftrules.PrefixSet(p.Nodes), text)
	}
	return text
}

func (p program) markOutside(w *nftrules.Writer) {
	if p.Local.Known() {
		match, _ := nftrules.Family(p.family)
		w.Line("%smeta mark set meta mark | %s", nftrules.Outside(p.Local, match), nftrules.MarkBit)
	}
}

func (p program) hooks(w *nftrules.Writer) {
	match, _ := nftrules.Family(p.family)
	w.Open("chain node-ports-from-outside")
	p.lookup(w, nodePortOutside)
	w.Close()

	nftrules.SourceRanges(w, match, setAllowed)
	if len(p.shape.sockets) > 0 {
		nftrules.LocalSockets(w, match, setSocket, p.shape.sockets)
	}

	w.Open("chain prerouting")
	w.Line("type nat hook prerouting priority dstnat; policy accept;")
	p.ranges(w)
	w.Line("%sjump from-outside", nftrules.Outside(p.Local, match))
	w.Line("goto services")
	w.Close()
	w.Open("chain output")
	w.Line("type nat hook output priority -100; policy accept;")
	p.ranges(w)
	w.Line("goto services")
	w.Close()
	w.Open("chain forward")
	w.Line("type filter hook forward priority filter; policy accept;")
	nftrules.Invalid(w)
	w.Close()
	w.Open("chain postrouting")
	w.Line("type nat hook postrouting priority srcnat; policy accept;")
	nftrules.Masquerade(w, match, setHairpin)
	if len(p.Loopback) > 0 {
		w.Line("%s saddr %s oifname != \"lo\" masquerade fully-random", match, dataplane.Loopback)
	}
	w.Close()
	p.guard(w)
}

// ranges writes the rule against clients outside a load balancer's source ranges.
func (p program) ranges(w *nftrules.Writer) {
	if p.shape.ranged {
		match, _ := nftrules.Family(p.family)
		w.Line("%s %s", nftrules.Frontend(match), rangedRule)
	}
}

// guard keeps the loopback's addresses from neighbours, as the kernel does while route_localnet is off. It is the last chain:
// nft lists one that is added to a table at the end.
func (p program) guard(w *nftrules.Writer) {
	if len(p.Loopback) == 0 {
		return
	}
	nftrules.LoopbackGuard(w)
}
