// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"eastwest/internal/dataplane"
	"eastwest/internal/kernel/nft"
)

// program is the constant part of the table in one family: chains, rules and empty sets. It depends on the configuration,
// never on which services there are.
type program struct {
	family   nft.Family
	local    dataplane.Local // how pods are known, in this family
	services []netip.Prefix  // virtual addresses, in this family
	loopback []netip.Prefix  // addresses of the loopback that serve node ports
	own      netip.Addr      // what the node's connections to them get as their source; invalid serves none
}

// Bits of the packet mark. Others are never touched.
const (
	// markBit is set while a new connection of ours waits to be masqueraded.
	markBit  = "0x00004000"
	markRest = "0xffffbfff"
)

// script returns the transaction that makes the kernel's table equal to the program and keeps the elements of its sets.
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
	if p.family == nft.ARP {
		p.neighbours(&w)
	} else {
		p.sets(&w)
		p.decide(&w)
		p.translate(&w)
		p.hooks(&w)
		p.loop(&w)
	}
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

// key returns the expression that looks frontends up.
func (p program) key() string {
	match, _ := p.addr()
	return match + " daddr . meta l4proto . th dport"
}

func (p program) sets(w *writer) {
	_, addr := p.addr()
	frontend := addr + " . inet_proto . inet_service"
	set := func(kind, name, of, comment string, flags ...string) {
		w.open("%s %s", kind, name)
		w.line("type %s", of)
		for _, flag := range flags {
			w.line("flags %s", flag)
		}
		w.line("comment %q", comment)
		w.close()
	}
	set("set", setVirtual, frontend, "virtual servers of IPVS that are ours")
	set("set", setAddress, addr, "virtual addresses: ports that no service has are refused")
	set("set", setForward, frontend, "to IPVS as they are")
	set("set", setMasquerade, frontend, "to IPVS, and always masqueraded")
	set("set", setMasqOutside, frontend, "to IPVS; masquerades clients outside the cluster")
	set("set", setRefused, frontend, "without endpoints")
	set("set", setDropped, frontend, "policy Local without endpoints on this node")
	set("set", setOutsideRefused, frontend, "without endpoints, for clients outside the cluster")
	set("set", setOutsideDropped, frontend, "policy Local without endpoints on this node, for clients outside the cluster")
	set("set", setSocket, frontend, "taken by a socket of this node while there is one")
	set("set", setRanged, frontend, "load balancers with source ranges")
	set("set", setAllowed, frontend+" . "+addr, "source ranges of load balancers", "interval")
	set("set", setHairpin, addr+" . "+addr, "endpoints on this node, which may reach themselves")
	set("set", setLoopback, "inet_proto . inet_service", "node ports that the loopback serves")
	set("map", mapOutside, frontend+" : "+addr+" . inet_service", "policy Local, for clients outside the cluster: frontend : virtual server")
	set("map", mapSocket, frontend+" : "+addr+" . inet_service", "frontend : virtual server, while no socket of this node takes it")
}

// decide writes the chains that say what becomes of a new connection that is delivered here, before IPVS sees it.
func (p program) decide(w *writer) {
	match, _ := p.addr()
	key, outside := p.key(), outsideMatch(p.local, match)
	w.open("chain refuse")
	w.line("reject with tcp reset")
	w.line("reject")
	w.close()

	w.open("chain source-ranges")
	w.line("%s . %s saddr @%s return", key, match, setAllowed)
	w.line("drop")
	w.close()

	w.open("chain from-outside")
	w.line("%s @%s drop", key, setOutsideDropped)
	w.line("%s @%s goto refuse", key, setOutsideRefused)
	w.close()

	w.open("chain services")
	w.line("%s @%s drop", key, setDropped)
	w.line("%s @%s goto refuse", key, setRefused)
	w.line("%s @%s accept", key, setForward)
	w.line("%s @%s meta mark set meta mark | %s accept", key, setMasquerade, markBit)
	if p.local.Known() {
		w.line("%s%s @%s meta mark set meta mark | %s accept", outside, key, setMasqOutside, markBit)
	}
	w.line("%s @%s accept", key, setMasqOutside)
	w.line("%s daddr @%s goto refuse", match, setAddress)
	w.close()

	w.open("chain alias")
	w.line("ct status dnat jump services")
	w.line("drop")
	w.close()
}

// translate writes the chains before routing.
func (p program) translate(w *writer) {
	match, _ := p.addr()
	key := p.key()
	w.open("chain local-sockets")
	w.line("type filter hook prerouting priority raw; policy accept;")
	w.line("%s @%s socket wildcard 0 notrack accept", key, setSocket)
	// The kernel tells nothing about the address that half-open and closing connections are bound to.
	w.line("%s @%s tcp flags != syn / syn,ack socket transparent 0 notrack accept", key, setSocket)
	w.close()
	w.open("chain local-socket-answers")
	w.line("type filter hook output priority raw; policy accept;")
	w.line("%s @%s notrack accept", key, setSocket)
	w.line("%s saddr . meta l4proto . th sport @%s notrack accept", match, setSocket)
	w.close()

	w.open("chain sources")
	w.line("type filter hook prerouting priority mangle; policy accept;")
	w.line("ct state new %s @%s jump source-ranges", key, setRanged)
	w.close()
	w.open("chain prerouting")
	w.line("type nat hook prerouting priority dstnat; policy accept;")
	w.line("%sdnat %s to %s map @%s", outsideMatch(p.local, match), p.family, key, mapOutside)
	w.line("dnat %s to %s map @%s", p.family, key, mapSocket)
	w.close()
}

func (p program) hooks(w *writer) {
	match, _ := p.addr()
	key := p.key()
	alias := aliases[0]
	if p.family == nft.IPv6 {
		alias = aliases[1]
	}
	w.open("chain input")
	w.line("type filter hook input priority filter; policy accept;")
	w.line("ct state != new accept")
	w.line("%s daddr %s goto alias", match, alias)
	w.line("%sjump from-outside", outsideMatch(p.local, match))
	w.line("goto services")
	w.close()

	w.open("chain output")
	w.line("type filter hook output priority -99; policy accept;")
	w.line("ct state != new accept")
	w.line("%s @%s jump source-ranges", key, setRanged)
	w.line("fib daddr type local goto services")
	p.unused(w)
	w.close()

	w.open("chain forward")
	w.line("type filter hook forward priority filter; policy accept;")
	w.line("ct state invalid drop comment \"an answer that conntrack cannot place would reach its client untranslated, and be reset\"")
	p.unused(w)
	w.close()

	w.open("chain postrouting")
	w.line("type nat hook postrouting priority srcnat; policy accept;")
	w.line("meta mark & %s == %s meta mark set meta mark & %s masquerade fully-random", markBit, markBit, markRest)
	w.line("%s saddr . %s daddr @%s masquerade fully-random", match, match, setHairpin)
	w.line("%s saddr @%s oifname != \"lo\" masquerade fully-random", match, setAddress)
	w.close()
}

// unused refuses virtual addresses that no service has.
func (p program) unused(w *writer) {
	if match, _ := p.addr(); len(p.services) > 0 {
		w.line("%s daddr %s goto refuse", match, prefixSet(p.services))
	}
}

// loop has the node's connections to the loopback come from another address of its own: IPVS sends nothing that comes from the
// loopback to other machines. It comes before connection tracking, and after IPVS for answers, so that neither knows of it.
func (p program) loop(w *writer) {
	if len(p.loopback) == 0 || !p.own.IsValid() {
		return
	}
	to := prefixSet(p.loopback)
	w.open("chain loopback-guard")
	w.line("type filter hook prerouting priority raw; policy accept;")
	w.line("iifname != \"lo\" ip saddr %s drop", dataplane.Loopback)
	w.line("iifname != \"lo\" ip daddr %s drop", dataplane.Loopback)
	w.close()
	w.open("chain loopback-output")
	w.line("type filter hook output priority raw; policy accept;")
	w.line("ip saddr 127.0.0.1 ip daddr %s meta l4proto . th dport @%s ip saddr set %s", to, setLoopback, p.own)
	w.close()
	w.open("chain loopback-input")
	w.line("type filter hook input priority 150; policy accept;")
	w.line("ip saddr %s ip daddr %s meta l4proto . th sport @%s ip daddr set 127.0.0.1", to, p.own, setLoopback)
	w.close()
}

// neighbours keeps this node from answering ARP for virtual addresses, which every node has. Another table may mark those that
// it is to answer for.
func (p program) neighbours(w *writer) {
	w.open("set %s", setAddress)
	w.line("type ipv4_addr")
	w.line("comment \"virtual addresses, which every node has\"")
	w.close()
	w.open("chain input")
	w.line("type filter hook input priority filter; policy accept;")
	w.line("meta mark & %s == 0x00000000 arp operation request arp daddr ip @%s drop", markBit, setAddress)
	w.close()
}

func sortedTexts(list []netip.Prefix) []string {
	texts := make([]string, len(list))
	for i, p := range list {
		texts[i] = p.String()
	}
	slices.Sort(texts)
	return texts
}

// writer writes blocks indented as nft lists them.
type writer struct {
	strings.Builder
	depth int
}

func (w *writer) line(format string, args ...any) {
	fmt.Fprintf(w, "%s%s\n", strings.Repeat("\t", w.depth), fmt.Sprintf(format, args...))
}

func (w *writer) open(format string, args ...any) {
	w.line(format+" {", args...)
	w.depth++
}

func (w *writer) close() {
	w.depth--
	w.line("}")
}

// canonical drops empty lines and white space, which nft may write otherwise.
func canonical(listing string) string {
	var out strings.Builder
	for line := range strings.Lines(listing) {
		if line = strings.TrimSpace(line); line != "" {
			out.WriteString(line + "\n")
		}
	}
	return out.String()
}
