// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"eastwest/internal/kernel/nft"
)

// ruleset is what the rules themselves say of networks, as opposed to single services.
type ruleset struct {
	clusters []netip.Prefix // clients in them count as inside the cluster
	device   string         // the same of packets that come in through it; * at the end stands for any name that begins so
	ports    []addresses    // addresses of the node that serve node ports, any of them
	services []netip.Prefix // of virtual addresses; those that no service has are refused
}

func familyOf(a netip.Addr) nft.Family {
	if a.Is4() {
		return nft.IPv4
	}
	return nft.IPv6
}

// addresses are all that are in one list, which may be empty for all, and in none of another.
type addresses struct{ in, not []netip.Prefix }

// servesPorts reports whether an address of the node serves node ports.
func (r *ruleset) servesPorts(a netip.Addr) bool {
	return slices.ContainsFunc(r.ports, func(p addresses) bool {
		return (len(p.in) == 0 || contains(p.in, a)) && !contains(p.not, a)
	})
}

var daddr = regexp.MustCompile(`daddr (!= )?(\{[^}]*\}|[0-9a-f]\S*)`)

// parsePorts reads a match for addresses of the node.
func parsePorts(match string) addresses {
	var out addresses
	for _, m := range daddr.FindAllStringSubmatch(match, -1) {
		list := &out.in
		if m[1] != "" {
			list = &out.not
		}
		*list = append(*list, prefixes(m[2])...)
	}
	return out
}

// parseRuleset takes the networks out of the rules that name some: `saddr != NETWORKS jump from-outside`, where clients are told
// apart by interface `iifname != "NAME" jump from-outside`, `daddr NETWORKS goto refuse`, and those that lead to node ports.
func parseRuleset(listing string) *ruleset {
	r := &ruleset{}
	for line := range strings.Lines(listing) {
		line = strings.TrimSpace(line)
		if text, ok := between(line, " saddr != ", " jump from-outside"); ok {
			r.clusters = append(r.clusters, prefixes(text)...)
		}
		if text, ok := between(line, "iifname != ", " jump from-outside"); ok {
			r.device = strings.Trim(text, `"`)
		}
		if text, ok := strings.CutSuffix(line, "fib daddr type local goto node-ports"); ok {
			r.ports = append(r.ports, parsePorts(text))
		}
		if text, ok := between(line, " daddr ", " goto refuse"); ok {
			networks, _, _ := strings.Cut(text, " ip") // but for addresses in a set
			r.services = append(r.services, prefixes(networks)...)
		}
	}
	return r
}

func between(line, before, after string) (string, bool) {
	_, rest, found := strings.Cut(line, before)
	text, end := strings.CutSuffix(rest, after)
	return text, found && end
}

// prefixes reads one network or { several }; names of sets are left out.
func prefixes(text string) []netip.Prefix {
	var out []netip.Prefix
	for part := range strings.SplitSeq(strings.Trim(text, "{} "), ",") {
		part = strings.TrimSpace(part)
		if p, err := netip.ParsePrefix(part); err == nil {
			out = append(out, p)
		} else if a, err := netip.ParseAddr(part); err == nil {
			out = append(out, netip.PrefixFrom(a, a.BitLen()))
		}
	}
	return out
}

// isPod reports whether an address belongs to the cluster's pod networks.
func (r *ruleset) isPod(a netip.Addr) bool { return contains(r.clusters, a) }

func contains(list []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
}
