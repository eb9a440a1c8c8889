// SPDX-License-Identifier: Apache-2.0

// Package nftrules has what the tables of several backends of services say alike: how clients outside are told from pods, what
// is refused, which sockets of the node come first, and how a table is written.
package nftrules

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"eastwest/internal/dataplane"
	"eastwest/internal/kernel/nft"
)

// Bits of the packet mark, as nft lists them. Others are never touched.
const (
	// MarkBit is set while a new connection of ours waits to be masqueraded.
	MarkBit  = "0x00004000"
	MarkRest = "0xffffbfff"
)

// Family returns the words of a family: match prefix and address type.
func Family(family nft.Family) (match, kind string) {
	if family == nft.IPv6 {
		return "ip6", "ipv6_addr"
	}
	return "ip", "ipv4_addr"
}

// Frontend returns the expression that looks frontends up.
func Frontend(match string) string { return match + " daddr . meta l4proto . th dport" }

// Outside returns the match for clients that are no pods, with a space after it; empty where these cannot be told apart.
func Outside(local dataplane.Local, match string) string {
	switch {
	case len(local.CIDRs) > 0:
		return fmt.Sprintf("%s saddr != %s ", match, PrefixSet(local.CIDRs))
	case local.Bridge != "":
		return fmt.Sprintf("iifname != %q ", local.Bridge)
	case local.InterfacePrefix != "":
		return fmt.Sprintf("iifname != %q ", local.InterfacePrefix+"*")
	}
	return ""
}

// PrefixSet writes prefixes as nft lists them: one alone, or an anonymous set.
func PrefixSet(list []netip.Prefix) string {
	texts := make([]string, len(list))
	for i, p := range slices.SortedFunc(slices.Values(list), netip.Prefix.Compare) {
		texts[i] = p.String()
	}
	return anySet(texts)
}

// addressSet writes sorted addresses likewise.
func addressSet(list []netip.Addr) string {
	texts := make([]string, len(list))
	for i, addr := range list {
		texts[i] = addr.String()
	}
	return anySet(texts)
}

func anySet(texts []string) string {
	if len(texts) == 1 {
		return texts[0]
	}
	return "{ " + strings.Join(texts, ", ") + " }"
}

// Unused writes the rule that refuses virtual addresses, but for those in the set, which another proxy serves.
func Unused(w *Writer, match string, services []netip.Prefix, elsewhere string) {
	if len(services) > 0 {
		w.Line("%s daddr %s %s daddr != @%s goto refuse", match, PrefixSet(services), match, elsewhere)
	}
}

// Refuse writes the chain that rejects at once.
func Refuse(w *Writer) {
	w.Open("chain refuse")
	w.Line("reject with tcp reset")
	w.Line("reject")
	w.Close()
}

// SourceRanges writes the chain that drops what comes from no range of a load balancer in the set.
func SourceRanges(w *Writer, match, allowed string) {
	w.Open("chain source-ranges")
	w.Line("%s . %s saddr @%s return", Frontend(match), match, allowed)
	w.Line("drop")
	w.Close()
}

// LocalSockets writes the chains that leave a frontend in the set to a socket of this node, while there is one. Every packet of the
// node passes them: where the addresses in the set are given, only packets to and from these are looked up.
func LocalSockets(w *Writer, match, set string, addresses []netip.Addr) {
	to, from := "", ""
	if len(addresses) > 0 {
		list := addressSet(addresses)
		to, from = fmt.Sprintf("%s daddr %s ", match, list), fmt.Sprintf("%s saddr %s ", match, list)
	}
	w.Open("chain local-sockets")
	w.Line("type filter hook prerouting priority raw; policy accept;")
	w.Line("%s%s @%s socket wildcard 0 notrack accept", to, Frontend(match), set)
	// The kernel tells nothing about the address that half-open and closing connections are bound to.
	w.Line("%s%s @%s tcp flags != syn / syn,ack socket transparent 0 notrack accept", to, Frontend(match), set)
	w.Close()
	w.Open("chain local-socket-answers")
	w.Line("type filter hook output priority raw; policy accept;")
	w.Line("%s%s @%s notrack accept", to, Frontend(match), set)
	w.Line("%s%s saddr . meta l4proto . th sport @%s notrack accept", from, match, set)
	w.Close()
}

// Invalid writes the rule against packets that conntrack cannot place.
func Invalid(w *Writer) {
	w.Line("ct state invalid drop comment \"an answer that conntrack cannot place would reach its client untranslated, and be reset\"")
}

// Masquerade writes the rules for what is marked, and for endpoints in the set that reach themselves.
func Masquerade(w *Writer, match, hairpin string) {
	w.Line("meta mark & %s == %s meta mark set meta mark & %s masquerade fully-random", MarkBit, MarkBit, MarkRest)
	w.Line("%s saddr . %s daddr @%s masquerade fully-random", match, match, hairpin)
}

// LoopbackGuard writes the chain that keeps the loopback's addresses from neighbours, as the kernel does while route_localnet
// is off.
func LoopbackGuard(w *Writer) {
	w.Open("chain loopback-guard")
	w.Line("type filter hook prerouting priority raw; policy accept;")
	w.Line("iifname != \"lo\" ip saddr %s drop", dataplane.Loopback)
	w.Line("iifname != \"lo\" ip daddr %s drop", dataplane.Loopback)
	w.Close()
}
