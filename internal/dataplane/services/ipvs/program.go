// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"net/netip"

	"eastwest/internal/dataplane"
	"eastwest/internal/dataplane/nftrules"
	"eastwest/internal/kernel/nft"
)

// program is the constant part of the table in one family: chains, rules and empty sets. It depends on the configuration,
// never on which services there are.
type program struct {
	dataplane.NodeView
	family nft.Family
	own    netip.Addr // what the node's connections to them get as their source; invalid serves none
}

// script returns the transaction that makes the kernel's table, which nft lists so, equal to the program and keeps the elements
// of its sets.
func (p program) script(listing string) string {
	return nftrules.Script(p.family, TableName, p.text(), listing)
}

// replacement returns the transaction that writes the table anew, without elements.
func (p program) replacement() string { return nftrules.Replacement(p.family, TableName, p.text()) }

// text returns the table as nft lists it.
func (p program) text() string {
	var w nftrules.Writer
	w.Open("table %s %s", p.family, TableName)
	if p.family == nft.ARP {
		p.neighbours(&w)
	} else {
		p.sets(&w)
		p.decide(&w)
		p.translate(&w)
		p.hooks(&w)
		p.loop(&w)
	}
	w.Close()
	return w.String()
}

// key returns the expression that looks frontends up.
func (p program) key() string {
	match, _ := nftrules.Family(p.family)
	return nftrules.Frontend(match)
}

func (p program) sets(w *nftrules.Writer) {
	_, addr := nftrules.Family(p.family)
	frontend := addr + " . inet_proto . inet_service"
	set := func(kind, name, of, comment string, flags ...string) {
		w.Open("%s %s", kind, name)
		w.Line("type %s", of)
		for _, flag := range flags {
			w.Line("flags %s", flag)
		}
		w.Line("comment %q", comment)
		w.Close()
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
	set("set", setElsewhere, addr, "virtual addresses that another proxy serves")
	set("set", setLoopback, "inet_proto . inet_service", "node ports that the loopback serves")
	set("map", mapOutside, frontend+" : "+addr+" . inet_service", "policy Local, for clients outside the cluster: frontend : virtual server")
	set("map", mapSocket, frontend+" : "+addr+" . inet_service", "frontend : virtual server, while no socket of this node takes it")
}

// decide writes the chains that say what becomes of a new connection that is delivered here, before IPVS sees it.
func (p program) decide(w *nftrules.Writer) {
	match, _ := nftrules.Family(p.family)
	key, outside := p.key(), nftrules.Outside(p.Local, match)
	nftrules.Refuse(w)

	nftrules.SourceRanges(w, match, setAllowed)

	w.Open("chain from-outside")
	w.Line("%s @%s drop", key, setOutsideDropped)
	w.Line("%s @%s goto refuse", key, setOutsideRefused)
	w.Close()

	w.Open("chain services")
	w.Line("%s @%s drop", key, setDropped)
	w.Line("%s @%s goto refuse", key, setRefused)
	w.Line("%s @%s accept", key, setForward)
	w.Line("%s @%s meta mark set meta mark | %s accept", key, setMasquerade, nftrules.MarkBit)
	if p.Local.Known() {
		w.Line("%s%s @%s meta mark set meta mark | %s accept", outside, key, setMasqOutside, nftrules.MarkBit)
	}
	w.Line("%s @%s accept", key, setMasqOutside)
	w.Line("%s daddr @%s goto refuse", match, setAddress)
	w.Close()

	w.Open("chain alias")
	w.Line("ct status dnat jump services")
	w.Line("drop")
	w.Close()
}

// translate writes the chains before routing.
func (p program) translate(w *nftrules.Writer) {
	match, _ := nftrules.Family(p.family)
	key := p.key()
	nftrules.LocalSockets(w, match, setSocket, nil)

	w.Open("chain sources")
	w.Line("type filter hook prerouting priority mangle; policy accept;")
	w.Line("ct state new %s @%s jump source-ranges", key, setRanged)
	w.Close()
	w.Open("chain prerouting")
	w.Line("type nat hook prerouting priority dstnat; policy accept;")
	w.Line("%sdnat %s to %s map @%s", nftrules.Outside(p.Local, match), p.family, key, mapOutside)
	w.Line("dnat %s to %s map @%s", p.family, key, mapSocket)
	w.Close()
}

func (p program) hooks(w *nftrules.Writer) {
	match, _ := nftrules.Family(p.family)
	key := p.key()
	alias := aliases[0]
	if p.family == nft.IPv6 {
		alias = aliases[1]
	}
	w.Open("chain input")
	w.Line("type filter hook input priority filter; policy accept;")
	w.Line("ct state != new accept")
	w.Line("%s daddr %s goto alias", match, alias)
	w.Line("%sjump from-outside", nftrules.Outside(p.Local, match))
	w.Line("goto services")
	w.Close()

	w.Open("chain output")
	w.Line("type filter hook output priority -99; policy accept;")
	w.Line("ct state != new accept")
	w.Line("%s @%s jump source-ranges", key, setRanged)
	w.Line("fib daddr type local goto services")
	p.unused(w)
	w.Close()

	w.Open("chain forward")
	w.Line("type filter hook forward priority filter; policy accept;")
	nftrules.Invalid(w)
	p.unused(w)
	w.Close()

	w.Open("chain postrouting")
	w.Line("type nat hook postrouting priority srcnat; policy accept;")
	nftrules.Masquerade(w, match, setHairpin)
	w.Line("%s saddr @%s oifname != \"lo\" masquerade fully-random", match, setAddress)
	w.Close()
}

// unused refuses virtual addresses that no service has.
func (p program) unused(w *nftrules.Writer) {
	match, _ := nftrules.Family(p.family)
	nftrules.Unused(w, match, p.Services, setElsewhere)
}

// loop has the node's connections to the loopback come from another address of its own: IPVS sends nothing that comes from the
// loopback to other machines. It comes before connection tracking, and after IPVS for answers, so that neither knows of it.
func (p program) loop(w *nftrules.Writer) {
	if len(p.Loopback) == 0 || !p.own.IsValid() {
		return
	}
	to := nftrules.PrefixSet(p.Loopback)
	nftrules.LoopbackGuard(w)
	w.Open("chain loopback-output")
	w.Line("type filter hook output priority raw; policy accept;")
	w.Line("ip saddr 127.0.0.1 ip daddr %s meta l4proto . th dport @%s ip saddr set %s", to, setLoopback, p.own)
	w.Close()
	w.Open("chain loopback-input")
	w.Line("type filter hook input priority 150; policy accept;")
	w.Line("ip saddr %s ip daddr %s meta l4proto . th sport @%s ip daddr set 127.0.0.1", to, p.own, setLoopback)
	w.Close()
}

// neighbours keeps this node from answering ARP for virtual addresses, which every node has. Another table may mark those that
// it is to answer for.
func (p program) neighbours(w *nftrules.Writer) {
	w.Open("set %s", setAddress)
	w.Line("type ipv4_addr")
	w.Line("comment \"virtual addresses, which every node has\"")
	w.Close()
	w.Open("chain input")
	w.Line("type filter hook input priority filter; policy accept;")
	w.Line("meta mark & %s == 0x00000000 arp operation request arp daddr ip @%s drop", nftrules.MarkBit, setAddress)
	w.Close()
}
