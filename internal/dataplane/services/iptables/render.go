// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"eastwest/internal/kernel/iptables"
	"eastwest/internal/table"
)

// place names a chain.
type place struct{ table, chain string }

// chains holds the rules of chains as iptables-save prints them, without "-A CHAIN ".
type chains map[place][]string

func (c chains) add(table, chain, rule string) {
	at := place{table, chain}
	c[at] = append(c[at], rule)
}

const (
	nat    = "nat"
	filter = "filter"
	raw    = "raw"
)

// renderer writes services of one family.
type renderer struct {
	family   iptables.Family
	pods     podMatch
	services []netip.Prefix // refused as a whole where no service is
}

// render writes what only this service has into own, and its rules in chains that services share into shared.
func (r renderer) render(s table.Service, own, shared chains) {
	for _, p := range portsOf(s, r.family) {
		r.port(p, own, shared)
	}
	for _, addr := range s.Addresses {
		covered := slices.ContainsFunc(r.services, func(p netip.Prefix) bool { return p.Contains(addr) })
		if addr.Is4() == (r.family == iptables.IPv4) && !covered {
			for _, rule := range r.refuse(netip.PrefixFrom(addr, addr.BitLen()), s.Key()+" has no such port") {
				shared.add(filter, chainServices, rule)
			}
		}
	}
	if s.HealthCheck != 0 {
		shared.add(filter, chainNodePorts, fmt.Sprintf("-p tcp %s -m tcp --dport %d -j ACCEPT",
			comment(s.Key()+" health check node port"), s.HealthCheck))
	}
}

// port is the frontends of one port and protocol of a service.
type port struct {
	label    string
	protocol string
	cluster  []table.Frontend // virtual addresses
	external []table.Frontend // for everyone: external addresses, load balancers', node port
	outside  map[spot]table.Frontend
}

// spot is an external address and port.
type spot struct {
	addr netip.Addr
	port uint16
}

func portsOf(s table.Service, family iptables.Family) []*port {
	type key struct {
		name     string
		protocol table.Protocol
	}
	var list []*port
	byKey := map[key]*port{}
	for _, f := range s.Frontends {
		if f.Addr.Is4() != (family == iptables.IPv4) {
			continue
		}
		k := key{f.PortName, f.Protocol}
		p := byKey[k]
		if p == nil {
			p = &port{label: s.Label(f), protocol: f.Protocol.String(), outside: map[spot]table.Frontend{}}
			byKey[k] = p
			list = append(list, p)
		}
		switch {
		case f.Kind == table.ClusterIP:
			p.cluster = append(p.cluster, f)
		case f.View == table.Outside:
			p.outside[spot{f.Addr, f.Port}] = f
		default:
			p.external = append(p.external, f)
		}
	}
	return list
}

func (p *port) chain(prefix string) string { return hashed(prefix, p.label, p.protocol, "") }

// to returns the match for a destination.
func (p *port) to(f table.Frontend, note string) string {
	addr := ""
	if f.Kind != table.NodePort {
		addr = "-d " + single(f.Addr) + " "
	}
	return addr + "-p " + p.protocol + " " + comment(note) + " -m " + p.protocol + " --dport " + strconv.Itoa(int(f.Port))
}

func (r renderer) port(p *port, own, shared chains) {
	for _, f := range p.cluster {
		r.clusterIP(p, f, own, shared)
	}
	for _, f := range p.external {
		r.externalIP(p, f, own, shared)
	}
}

func (r renderer) clusterIP(p *port, f table.Frontend, own, shared chains) {
	if f.LocalSocket {
		r.localSocket(p, f, shared)
	}
	if f.Action != table.Forward {
		shared.add(filter, chainServices, p.to(f, p.label+reason(f))+r.refusal(f))
		return
	}
	chain := r.balance(p, f, own)
	to := p.to(f, p.label+" cluster IP")
	switch {
	case f.Masquerade == table.Always:
		own.first(nat, chain, to+" -j "+chainMark)
	case f.Masquerade == table.FromOutside && r.pods.known():
		own.first(nat, chain, r.pods.outside(to))
	}
	shared.add(nat, chainServices, to+" -j "+chain)
}

// first puts a rule at the head of a chain, once.
func (c chains) first(table, chain, rule string) {
	at := place{table, chain}
	if len(c[at]) > 0 && c[at][0] == rule {
		return
	}
	c[at] = append([]string{rule}, c[at]...)
}

func reason(f table.Frontend) string {
	if f.Action == table.Drop {
		return " has no local endpoints"
	}
	return " has no endpoints"
}

func (r renderer) refusal(f table.Frontend) string {
	if f.Action == table.Drop {
		return " -j DROP"
	}
	return " -j " + r.reject(f.Protocol == table.TCP)
}

// reject refuses at once. TCP by a reset: of unreachables the kernel sends only a few a second.
func (r renderer) reject(tcp bool) string {
	switch {
	case tcp:
		return "REJECT --reject-with tcp-reset"
	case r.family == iptables.IPv6:
		return "REJECT --reject-with icmp6-port-unreachable"
	}
	return "REJECT --reject-with icmp-port-unreachable"
}

// refuse returns the rules that refuse everything to an address or prefix.
func (r renderer) refuse(to netip.Prefix, note string) []string {
	return []string{
		fmt.Sprintf("-d %s -p tcp %s -j %s", to, comment(note), r.reject(true)),
		fmt.Sprintf("-d %s %s -j %s", to, comment(note), r.reject(false)),
	}
}

// externalIP writes one address that clients outside use; out, where there is one, says what these get.
func (r renderer) externalIP(p *port, f table.Frontend, own, shared chains) {
	out, local := p.outside[spot{f.Addr, f.Port}]
	met := f
	if local {
		met = out
	}
	if f.Action == table.Forward || met.Action == table.Forward {
		chain := r.externalChain(p, f, met, local, own)
		if f.SourceRanges != nil {
			chain = r.ranges(p, f, chain, own)
		}
		note, at := p.label, chainNodePorts
		switch f.Kind {
		case table.ExternalIP:
			note, at = p.label+" external IP", chainServices
		case table.LoadBalancer:
			note, at = p.label+" loadbalancer IP", chainServices
		}
		shared.add(nat, at, p.to(f, note)+" -j "+chain)
	}
	if f.SourceRanges != nil {
		r.firewall(p, f, met.Action, shared)
	}
	if met.Action == table.Forward {
		return
	}
	to := p.to(f, p.label+reason(met))
	if f.Kind == table.NodePort {
		to = fmt.Sprintf("-p %s %s -m addrtype --dst-type LOCAL -m %s --dport %d", p.protocol, comment(p.label+reason(met)), p.protocol, f.Port)
	}
	shared.add(filter, chainExternal, to+r.refusal(met))
}

// externalChain writes where external traffic goes; it is the same for every external address of the port.
func (r renderer) externalChain(p *port, f, met table.Frontend, local bool, own chains) string {
	chain := p.chain(prefixExternal)
	if own[place{nat, chain}] != nil {
		return chain
	}
	add := func(rule string) { own.add(nat, chain, rule) }
	note := " traffic for " + p.label + " external destinations"
	if !local {
		if f.Masquerade == table.Always {
			add(comment("masquerade"+note) + " -j " + chainMark)
		}
		add("-j " + r.balance(p, f, own))
		return chain
	}
	if f.Action == table.Forward {
		all := r.balance(p, f, own)
		for _, match := range r.pods.inside() {
			add(match + " " + comment("pod"+note) + " -j " + all)
		}
		add(comment("masquerade LOCAL"+note) + " -m addrtype --src-type LOCAL -j " + chainMark)
		add(comment("route LOCAL"+note) + " -m addrtype --src-type LOCAL -j " + all)
	}
	if met.Action == table.Forward {
		add("-j " + r.balance(p, met, own))
	}
	return chain
}

// ranges writes which clients a load balancer's address lets in; the firewall chain drops the others.
func (r renderer) ranges(p *port, f table.Frontend, next string, own chains) string {
	chain := p.chain(prefixRanges)
	if own[place{nat, chain}] != nil {
		return chain
	}
	for _, source := range f.SourceRanges {
		own.add(nat, chain, from(source)+comment(p.label+" loadbalancer IP")+" -j "+next)
	}
	own.add(nat, chain, comment("other traffic to "+p.label+" will be dropped by KUBE-PROXY-FIREWALL"))
	return chain
}

// firewall drops the clients of a load balancer's address that its ranges leave out. Others come here only when nothing
// translated them: what becomes of them is decided later.
func (r renderer) firewall(p *port, f table.Frontend, met table.Action, shared chains) {
	to := p.to(f, p.label+" traffic not accepted by "+p.chain(prefixRanges))
	for _, source := range f.SourceRanges {
		if met != table.Forward {
			shared.add(filter, chainFirewall, from(source)+to+" -j RETURN")
		}
	}
	shared.add(filter, chainFirewall, to+" -j DROP")
}

// from returns the match for a source, with a space after it; empty for every source.
func from(source netip.Prefix) string {
	if source.Bits() == 0 {
		return ""
	}
	return "-s " + source.Masked().String() + " "
}

// balance writes the chain that chooses among a frontend's endpoints, and the chains of these, and returns its name.
func (r renderer) balance(p *port, f table.Frontend, own chains) string {
	chain := p.chain(prefixCluster)
	if f.Local {
		chain = p.chain(prefixLocal)
	}
	if own[place{nat, chain}] != nil {
		return chain
	}
	seps := make([]string, len(f.Endpoints))
	notes := make([]string, len(f.Endpoints))
	for i, e := range f.Endpoints {
		text := e.String()
		seps[i] = r.endpoint(p, f, e.Addr(), text, own)
		notes[i] = comment(p.label + " -> " + text)
	}
	if f.AffinitySeconds > 0 {
		for i, sep := range seps {
			own.add(nat, chain, fmt.Sprintf("%s -m recent --rcheck --seconds %d --reap --name %s --mask %s --rsource -j %s",
				notes[i], f.AffinitySeconds, sep, r.mask(), sep))
		}
	}
	for i, sep := range seps {
		chance := ""
		if left := len(seps) - i; left > 1 {
			chance = " -m statistic --mode random --probability " + probability(left)
		}
		own.add(nat, chain, notes[i]+chance+" -j "+sep)
	}
	return chain
}

// endpoint writes the chain of one endpoint, which is at addr and in text with its port, and returns the chain's name.
func (r renderer) endpoint(p *port, f table.Frontend, addr netip.Addr, text string, own chains) string {
	sep := hashed(prefixEndpoint, p.label, p.protocol, text)
	at := place{nat, sep}
	if own[at] != nil {
		return sep
	}
	recent, note := "", comment(p.label)
	if f.AffinitySeconds > 0 {
		recent = fmt.Sprintf(" -m recent --set --name %s --mask %s --rsource", sep, r.mask())
	}
	own[at] = []string{
		"-s " + single(addr) + " " + note + " -j " + chainMark,
		"-p " + p.protocol + " " + note + recent + " -m " + p.protocol + " -j DNAT --to-destination " + text,
	}
	return sep
}

// single is an address as a prefix.
func single(addr netip.Addr) string { return addr.String() + "/" + strconv.Itoa(addr.BitLen()) }

func (r renderer) mask() string {
	if r.family == iptables.IPv6 {
		return "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
	}
	return "255.255.255.255"
}

// localSocket lets a socket of the node that is bound to the address have the packets as they are.
func (r renderer) localSocket(p *port, f table.Frontend, shared chains) {
	to := p.to(f, p.label)
	shared.add(raw, chainSockets, to+" -m socket -j CT --notrack")
	shared.add(raw, chainAnswers, to+" -j CT --notrack")
	from := strings.Replace(strings.Replace(to, "-d ", "-s ", 1), "--dport", "--sport", 1)
	shared.add(raw, chainAnswers, from+" -j CT --notrack")
}

// probability returns one in n as the kernel keeps and prints it: in parts of 2^31.
func probability(n int) string {
	const parts = 1 << 31
	return strconv.FormatFloat(math.Round(parts/float64(n))/parts, 'f', 11, 64)
}

// comment quotes a note as iptables-save does; the kernel keeps 255 bytes.
func comment(note string) string {
	if len(note) > 255 {
		note = note[:255]
	}
	return `-m comment --comment "` + note + `"`
}
