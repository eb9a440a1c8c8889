// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"eastwest/internal/dataplane"
	"eastwest/internal/kernel/nft"
)

// program is the constant part of the table in one family: chains, rules and empty maps. It depends on the
// configuration and on how many endpoints a Service has at most, never on which services there are.
type program struct {
	family   nft.Family
	local    dataplane.Local // how pods are known, in this family
	services []netip.Prefix  // virtual addresses, in this family
	nodes    []netip.Prefix  // addresses that serve node ports, in this family; empty is all
	noNodes  bool            // no address of this family serves node ports
	loopback []netip.Prefix  // addresses of the loopback that serve node ports as well
	size     size
	// written is how nft listed the table right after it was written: versions of nft spell some rules differently.
	written string
}

// Bits and values that the rules use.
const (
	// markBit is set while a new connection of ours waits to be masqueraded; other bits of the mark are never touched.
	markBit  = "0x00004000"
	markRest = "0xffffbfff"
	// loopbacks serve no node ports unless asked to: an answer could not leave the loopback interface.
	loopback4, loopback6 = "127.0.0.0/8", "::1"
)

// script returns the transaction that makes the kernel's table equal to the program and keeps the elements of its maps.
func (p program) script() string {
	head := fmt.Sprintf("table %s %s", p.family, TableName)
	return fmt.Sprintf("add %s\nflush %s\n%s", head, head, p.text())
}

// replacement returns the transaction that writes the table anew, without elements.
func (p program) replacement() string {
	head := fmt.Sprintf("table %s %s", p.family, TableName)
	return fmt.Sprintf("add %s\ndelete %s\n%s", head, head, p.text())
}

// text returns the table as nft lists it.
func (p program) text() string {
	var w writer
	w.open("table %s %s", p.family, TableName)
	p.sets(&w)
	p.slots(&w)
	p.sticky(&w)
	p.dispatch(&w)
	p.hooks(&w)
	w.close()
	return w.String()
}

// addr returns the words of the family: match prefix and address type.
func (p program) addr() (match, kind string) {
	if p.family == nft.IPv6 {
		return "ip6", "ipv6_addr"
	}
	return "ip", "ipv4_addr"
}

// key returns the expression that looks a group's frontends up, and its type.
func (p program) key(g group) (expression, kind string) {
	match, addr := p.addr()
	if g.byPort() {
		return "meta l4proto . th dport", "inet_proto . inet_service"
	}
	return match + " daddr . meta l4proto . th dport", addr + " . inet_proto . inet_service"
}

func (p program) sets(w *writer) {
	_, addr := p.addr()
	for _, m := range frontendMaps {
		_, kind := p.key(m.group)
		w.open("map %s", m.name)
		w.line("type %s : classid", kind)
		w.line("comment %q", m.comment)
		w.close()
	}
	for g := range groups {
		_, kind := p.key(g)
		for slot := range p.size.slots[g] {
			w.open("map %s", endpointMap(g, slot))
			w.line("type %s : %s . inet_service", kind, addr)
			w.close()
		}
		p.verdicts(w, g)
		if len(p.size.timeouts[g]) > 0 {
			p.affinity(w, g)
		}
	}
	w.open("set %s", setAddress)
	w.line("type %s", addr)
	w.line("comment \"virtual addresses: ports that no service has are refused\"")
	w.close()
	w.open("set %s", setHairpin)
	w.line("type %s . %s", addr, addr)
	w.line("comment \"endpoints on this node, which may reach themselves\"")
	w.close()
	w.open("set %s", setSocket)
	w.line("type %s . inet_proto . inet_service", addr)
	w.line("comment \"taken by a socket of this node while there is one\"")
	w.close()
	w.open("set %s", setRanged)
	w.line("type %s . inet_proto . inet_service", addr)
	w.close()
	w.open("set %s", setAllowed)
	w.line("type %s . inet_proto . inet_service . %s", addr, addr)
	w.line("flags interval")
	w.line("comment \"source ranges of load balancers\"")
	w.close()
}

// verdicts writes the constant maps from a number of endpoints, and from a random slot, to its chain.
func (p program) verdicts(w *writer, g group) {
	w.open("map %s-pick", g)
	w.line("type classid : verdict")
	w.line("comment \"number of endpoints : how to choose one\"")
	elements := []string{"none : goto refuse", classID(dropped) + " : drop"}
	for n := 1; n <= p.size.slots[g]; n++ {
		elements = append(elements, fmt.Sprintf("%s : goto %s", classID(uint32(n)), pickChain(g, n)))
		for _, seconds := range p.size.timeouts[g] {
			elements = append(elements, fmt.Sprintf("%s : goto %s", classID(seconds<<countBits|uint32(n)), stickyChain(g, n, seconds)))
		}
	}
	w.line("elements = { %s }", strings.Join(elements, ",\n\t\t\t     "))
	w.close()
	if p.size.slots[g] == 0 {
		return
	}
	w.open("map %s-slot", g)
	w.line("typeof numgen random mod 2 : verdict")
	elements = nil
	for slot := range p.size.slots[g] {
		elements = append(elements, fmt.Sprintf("%d : goto %s", slot, slotChain(g, slot)))
	}
	w.line("elements = { %s }", strings.Join(elements, ",\n\t\t\t     "))
	w.close()
}

// slots writes the chains that choose a slot and that translate to the endpoint in it.
func (p program) slots(w *writer) {
	w.open("chain refuse")
	w.line("reject with tcp reset")
	w.line("reject")
	w.close()
	for g := range groups {
		key, _ := p.key(g)
		for slot := range p.size.slots[g] {
			w.open("chain %s", slotChain(g, slot))
			w.line("dnat %s to %s map @%s", p.family, key, endpointMap(g, slot))
			w.close()
		}
		for n := 2; n <= p.size.slots[g]; n++ {
			w.open("chain %s", pickChain(g, n))
			w.line("numgen random mod %d vmap @%s-slot", n, g)
			w.close()
		}
	}
}

// lookup writes the rule that finds a frontend. The number goes through the packet's priority because no other
// register can be named between two lookups; only packets to services have it changed, and forwarding sets it anew.
func (p program) lookup(w *writer, m frontendMap) {
	key, _ := p.key(m.group)
	w.line("meta priority set %s map @%s meta priority vmap @%s-pick", key, m.name, m.group)
}

// dispatch writes the chains that look frontends up, in the order in which masquerading widens: never, from outside the
// cluster, always.
func (p program) dispatch(w *writer) {
	match, _ := p.addr()
	local := p.nodePortAddresses()

	w.open("chain node-ports")
	p.lookup(w, nodePort)
	w.line("meta mark set meta mark & %s", markRest)
	p.markOutside(w)
	p.lookup(w, nodePortInside)
	w.line("meta mark set meta mark & %s", markRest)
	w.close()

	w.open("chain from-outside")
	p.lookup(w, externalOutside)
	if local != "" {
		w.line("%s goto node-ports-from-outside", local)
	}
	w.close()

	w.open("chain services")
	p.markOutside(w)
	p.lookup(w, serviceIP)
	w.line("meta mark set meta mark | %s", markBit)
	p.lookup(w, externalIP)
	w.line("%s daddr @%s goto refuse", match, setAddress)
	if len(p.services) > 0 {
		w.line("%s daddr %s goto refuse", match, prefixSet(p.services))
	}
	if local != "" {
		w.line("%s goto node-ports", local)
	}
	if len(p.loopback) > 0 {
		w.line("%s daddr %s fib daddr type local goto node-ports", match, prefixSet(p.loopback))
	}
	w.line("meta mark set meta mark & %s", markRest)
	w.close()
}

// nodePortAddresses returns the match for the addresses that serve node ports; empty when none does.
func (p program) nodePortAddresses() string {
	match, _ := p.addr()
	loopback := loopback4
	if p.family == nft.IPv6 {
		loopback = loopback6
	}
	text := fmt.Sprintf("%s daddr != %s fib daddr type local", match, loopback)
	switch {
	case p.noNodes:
		return ""
	case len(p.nodes) > 0:
		return fmt.Sprintf("%s daddr %s %s", match, prefixSet(p.nodes), text)
	}
	return text
}

func (p program) markOutside(w *writer) {
	if p.local.Known() {
		w.line("%smeta mark set meta mark | %s", p.outside(), markBit)
	}
}

// outside returns the match for clients that are no pods, with a space after it; empty where these cannot be told apart.
func (p program) outside() string {
	match, _ := p.addr()
	switch {
	case len(p.local.CIDRs) > 0:
		return fmt.Sprintf("%s saddr != %s ", match, prefixSet(p.local.CIDRs))
	case p.local.Bridge != "":
		return fmt.Sprintf("iifname != %q ", p.local.Bridge)
	case p.local.InterfacePrefix != "":
		return fmt.Sprintf("iifname != %q ", p.local.InterfacePrefix+"*")
	}
	return ""
}

func (p program) hooks(w *writer) {
	match, _ := p.addr()
	w.open("chain node-ports-from-outside")
	p.lookup(w, nodePortOutside)
	w.close()

	w.open("chain source-ranges")
	w.line("%s daddr . meta l4proto . th dport . %s saddr @%s return", match, match, setAllowed)
	w.line("drop")
	w.close()
	w.open("chain local-sockets")
	w.line("type filter hook prerouting priority raw; policy accept;")
	w.line("%s daddr . meta l4proto . th dport @%s socket wildcard 0 notrack accept", match, setSocket)
	// The kernel tells nothing about the address that half-open and closing connections are bound to.
	w.line("%s daddr . meta l4proto . th dport @%s tcp flags != syn / syn,ack socket transparent 0 notrack accept", match, setSocket)
	w.close()
	w.open("chain local-socket-answers")
	w.line("type filter hook output priority raw; policy accept;")
	w.line("%s daddr . meta l4proto . th dport @%s notrack accept", match, setSocket)
	w.line("%s saddr . meta l4proto . th sport @%s notrack accept", match, setSocket)
	w.close()

	w.open("chain prerouting")
	w.line("type nat hook prerouting priority dstnat; policy accept;")
	w.line("%s daddr . meta l4proto . th dport @%s jump source-ranges", match, setRanged)
	w.line("%sjump from-outside", p.outside())
	w.line("goto services")
	w.close()
	w.open("chain output")
	w.line("type nat hook output priority -100; policy accept;")
	w.line("%s daddr . meta l4proto . th dport @%s jump source-ranges", match, setRanged)
	w.line("goto services")
	w.close()
	w.open("chain forward")
	w.line("type filter hook forward priority filter; policy accept;")
	w.line("ct state invalid drop comment \"an answer that conntrack cannot place would reach its client untranslated, and be reset\"")
	w.close()
	w.open("chain postrouting")
	w.line("type nat hook postrouting priority srcnat; policy accept;")
	w.line("meta mark & %s == %s meta mark set meta mark & %s masquerade fully-random", markBit, markBit, markRest)
	w.line("%s saddr . %s daddr @%s masquerade fully-random", match, match, setHairpin)
	if len(p.loopback) > 0 {
		w.line("%s saddr %s oifname != \"lo\" masquerade fully-random", match, loopback4)
	}
	w.close()
	p.guard(w)
}

// guard keeps the loopback's addresses from neighbours, as the kernel does while route_localnet is off. It is the last chain:
// nft lists one that is added to a table at the end.
func (p program) guard(w *writer) {
	if len(p.loopback) == 0 {
		return
	}
	w.open("chain loopback-guard")
	w.line("type filter hook prerouting priority raw; policy accept;")
	w.line("iifname != \"lo\" ip saddr %s drop", loopback4)
	w.line("iifname != \"lo\" ip daddr %s drop", loopback4)
	w.close()
}

func prefixSet(list []netip.Prefix) string {
	texts := make([]string, len(list))
	for i, p := range list {
		texts[i] = p.String()
	}
	slices.Sort(texts)
	if len(texts) == 1 {
		return texts[0]
	}
	return "{ " + strings.Join(texts, ", ") + " }"
}
