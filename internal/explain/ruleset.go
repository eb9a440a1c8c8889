// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"net/netip"
	"slices"
	"strings"

	"eastwest/internal/kernel/nft"
)

// ruleset is what the rules themselves say of networks, as opposed to single services.
type ruleset struct {
	clusters []netip.Prefix // clients in them count as inside the cluster
	services []netip.Prefix // of virtual addresses; those that no service has are refused
}

func familyOf(a netip.Addr) nft.Family {
	if a.Is4() {
		return nft.IPv4
	}
	return nft.IPv6
}

// parseRuleset takes the networks out of the two rules that name some: `saddr != NETWORKS jump from-outside` and
// `daddr NETWORKS goto refuse`.
func parseRuleset(listing string) *ruleset {
	r := &ruleset{}
	for line := range strings.Lines(listing) {
		line = strings.TrimSpace(line)
		if text, ok := between(line, " saddr != ", " jump from-outside"); ok {
			r.clusters = append(r.clusters, prefixes(text)...)
		}
		if text, ok := between(line, " daddr ", " goto refuse"); ok {
			r.services = append(r.services, prefixes(text)...)
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
