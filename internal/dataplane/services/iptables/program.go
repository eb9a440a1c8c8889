// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"fmt"
	"net/netip"
	"slices"

	"eastwest/internal/dataplane"
	"eastwest/internal/kernel/iptables"
)

// markBit waits on a packet to be masqueraded; other bits of the mark are never touched.
const markBit = "0x4000/0x4000"

// podMatch tells pods from clients outside.
type podMatch struct {
	insides []string // matches, any of which means a pod
	not     string   // the match for "no pod", when one match can say so
}

func matchOf(local dataplane.Local) podMatch {
	var m podMatch
	for _, p := range local.CIDRs {
		m.insides = append(m.insides, "-s "+p.Masked().String())
	}
	switch {
	case local.Bridge != "":
		m.insides = []string{"-i " + local.Bridge}
	case local.InterfacePrefix != "":
		m.insides = []string{"-i " + local.InterfacePrefix + "+"}
	}
	if len(m.insides) == 1 {
		m.not = "! " + m.insides[0]
	}
	return m
}

func (m podMatch) known() bool { return len(m.insides) > 0 }

// inside returns the matches for pods.
func (m podMatch) inside() []string { return m.insides }

// outside returns the rule that marks clients that are no pods.
func (m podMatch) outside(to string) string {
	if m.not != "" {
		return m.not + " " + to + " -j " + chainMark
	}
	return to + " -j " + chainOutside
}

// program is what does not depend on services.
type program struct {
	dataplane.NodeView
	family iptables.Family
	pods   podMatch
}

// programOf returns what holds of a node in a family now.
func programOf(node dataplane.Node, family iptables.Family) program {
	view := node.View(family == iptables.IPv6)
	return program{NodeView: view, family: family, pods: matchOf(view.Local)}
}

// head returns the rules that stand before those of services, in every chain.
func (p program) head() chains {
	out := chains{
		{nat, chainServices}: nil, {nat, chainNodePorts}: nil, {filter, chainServices}: nil, {filter, chainExternal}: nil,
		{filter, chainNodePorts}: nil, {filter, chainFirewall}: nil,
	}
	loopback := "127.0.0.0/8"
	if p.family == iptables.IPv6 {
		loopback = "::1/128"
	}
	if len(p.Loopback) == 0 {
		// An answer could not leave the loopback interface.
		out.add(nat, chainNodePorts, "-d "+loopback+" "+comment("loopback serves no node ports")+" -j RETURN")
	} else {
		// What the kernel does while route_localnet is off.
		for _, match := range []string{"-s ", "-d "} {
			out.add(raw, chainGuard, match+loopback+" ! -i lo "+comment("loopback is not for neighbours")+" -j DROP")
		}
	}
	out.add(nat, chainMark, "-j MARK --set-xmark "+markBit)
	out.add(nat, chainPostrouting, "-m mark ! --mark "+markBit+" -j RETURN")
	out.add(nat, chainPostrouting, "-j MARK --set-xmark 0x4000/0x0")
	out.add(nat, chainPostrouting, comment("kubernetes service traffic requiring SNAT")+" -j MASQUERADE --random-fully")
	// An answer that conntrack cannot place would reach its client untranslated, and be reset.
	out.add(filter, chainForward, "-m conntrack --ctstate INVALID -j DROP")
	out.add(filter, chainForward, comment("kubernetes forwarding rules")+" -m mark --mark "+markBit+" -j ACCEPT")
	out.add(filter, chainForward, comment("kubernetes forwarding conntrack rule")+" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT")
	if p.pods.known() && p.pods.not == "" {
		for _, match := range p.pods.insides {
			out.add(nat, chainOutside, match+" -j RETURN")
		}
		out.add(nat, chainOutside, "-j "+chainMark)
	}
	return out
}

// tail returns the rules that stand behind those of services.
func (p program) tail() chains {
	out := chains{}
	note := comment("kubernetes service nodeports; NOTE: this must be the last rule in this chain")
	nodes := p.Nodes
	if len(nodes) == 0 && !p.NoNodes {
		nodes = []netip.Prefix{{}}
	}
	for _, prefix := range slices.Concat(p.Loopback, nodes) {
		to := ""
		if prefix.Bits() > 0 {
			to = "-d " + prefix.Masked().String() + " "
		}
		out.add(nat, chainServices, to+note+" -m addrtype --dst-type LOCAL -j "+chainNodePorts)
	}
	r := renderer{family: p.family}
	for _, prefix := range p.Services {
		for _, rule := range r.refuse(prefix.Masked(), "no service has this address and port") {
			out.add(filter, chainServices, rule)
		}
	}
	return out
}

// jump is a rule in a chain of the kernel's own.
type jump struct {
	from place
	rule string
}

// jumps returns the rules that lead into our chains. sockets says that services want local sockets to come first.
func (p program) jumps(sockets bool) []jump {
	const fresh = "-m conntrack --ctstate NEW "
	firewall := fresh + comment("kubernetes load balancer firewall") + " -j " + chainFirewall
	portals := comment("kubernetes service portals") + " -j " + chainServices
	visible := fresh + comment("kubernetes externally-visible service portals") + " -j " + chainExternal
	out := []jump{
		{place{filter, "INPUT"}, visible},
		{place{filter, "FORWARD"}, visible},
		{place{filter, "OUTPUT"}, visible},
		{place{filter, "INPUT"}, comment("kubernetes health check service ports") + " -j " + chainNodePorts},
		{place{filter, "FORWARD"}, fresh + portals},
		{place{filter, "OUTPUT"}, fresh + portals},
		{place{filter, "FORWARD"}, comment("kubernetes forwarding rules") + " -j " + chainForward},
		{place{filter, "INPUT"}, firewall},
		{place{filter, "OUTPUT"}, firewall},
		{place{filter, "FORWARD"}, firewall},
		{place{nat, "OUTPUT"}, portals},
		{place{nat, "PREROUTING"}, portals},
		{place{nat, "POSTROUTING"}, comment("kubernetes postrouting rules") + " -j " + chainPostrouting},
	}
	if len(p.Loopback) > 0 {
		out = append(out, jump{place{raw, "PREROUTING"}, "-j " + chainGuard})
	}
	if sockets {
		out = append(out, jump{place{raw, "PREROUTING"}, "-j " + chainSockets}, jump{place{raw, "OUTPUT"}, "-j " + chainAnswers})
	}
	return out
}

// String names the program in log lines.
func (p program) String() string { return fmt.Sprintf("%s services", p.family) }
