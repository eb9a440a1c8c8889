// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"cmp"
	"iter"
	"math/bits"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"eastwest/internal/kernel/nft"
	"eastwest/internal/table"
)

// shape is what of the services shows in the constant part of the table: how many slots there are, which timeouts clients are
// remembered for, and what no packet is asked for while no service wants it, since every look into a map costs each of them.
// It only grows while the table lives.
type shape struct {
	slots    [groups]int
	timeouts [groups][]uint32 // in seconds, sorted
	sockets  []netip.Addr     // that sockets of this node may take, sorted
	ranged   bool             // a load balancer has source ranges
}

// draws returns the draws that a group needs, the smallest first.
func (s shape) draws(g group) iter.Seq[draw] {
	return func(yield func(draw) bool) {
		for d := draw(1); d <= drawAmong(s.slots[g]); d++ {
			if !yield(d) {
				return
			}
		}
	}
}

// include widens the shape to what a service needs.
func (s *shape) include(row table.Service, family nft.Family) {
	for _, f := range row.Frontends {
		if !of(family, f.Addr) {
			continue
		}
		g := mapOf(f).group
		s.slots[g] = max(s.slots[g], len(f.Endpoints))
		if f.AffinitySeconds > 0 && len(f.Endpoints) > 0 {
			s.timeouts[g] = with(s.timeouts[g], f.AffinitySeconds, cmp.Compare[uint32])
		}
		if f.LocalSocket {
			s.sockets = with(s.sockets, f.Addr, netip.Addr.Compare)
		}
		s.ranged = s.ranged || f.SourceRanges != nil
	}
}

// union returns the shape that holds both; slots are rounded up, so that growing is rare.
func (s shape) union(t shape) shape {
	for g := range groups {
		if t.slots[g] > s.slots[g] {
			s.slots[g] = roundUp(t.slots[g])
		}
		for _, seconds := range t.timeouts[g] {
			s.timeouts[g] = with(s.timeouts[g], seconds, cmp.Compare[uint32])
		}
	}
	for _, addr := range t.sockets {
		s.sockets = with(s.sockets, addr, netip.Addr.Compare)
	}
	s.ranged = s.ranged || t.ranged
	return s
}

func (s shape) equal(t shape) bool {
	for g := range groups {
		if s.slots[g] != t.slots[g] || !slices.Equal(s.timeouts[g], t.timeouts[g]) {
			return false
		}
	}
	return s.ranged == t.ranged && slices.Equal(s.sockets, t.sockets)
}

var (
	drawLine   = regexp.MustCompile(`\tchain (\S+)-of-(\d+) \{`)
	stickyLine = regexp.MustCompile(`\tchain (\S+)-of-1-sticky-(\d+) \{`)
	socketLine = regexp.MustCompile(`\tip6? daddr (\{[^}]*\}|\S+) ip6? daddr \. meta l4proto \. th dport @` + setSocket)
)

const rangedRule = "@" + setRanged + " jump source-ranges"

// shapeOf reads the shape out of a listing.
func shapeOf(listing string) shape {
	var s shape
	each := func(pattern *regexp.Regexp, do func(g group, n uint32)) {
		for _, match := range pattern.FindAllStringSubmatch(listing, -1) {
			n, err := strconv.ParseUint(match[2], 10, 32)
			for g := range groups {
				if err == nil && g.String() == match[1] {
					do(g, uint32(n))
				}
			}
		}
	}
	each(drawLine, func(g group, n uint32) { s.slots[g] = max(s.slots[g], int(n)) })
	each(stickyLine, func(g group, n uint32) { s.timeouts[g] = with(s.timeouts[g], n, cmp.Compare[uint32]) })
	if match := socketLine.FindStringSubmatch(listing); match != nil {
		for text := range strings.FieldsFuncSeq(match[1], func(r rune) bool { return strings.ContainsRune("{, }", r) }) {
			if addr, err := netip.ParseAddr(text); err == nil {
				s.sockets = with(s.sockets, addr, netip.Addr.Compare)
			}
		}
	}
	s.ranged = strings.Contains(listing, rangedRule)
	return s
}

// with returns a sorted copy of the list that has n.
func with[T any](list []T, n T, compare func(a, b T) int) []T {
	at, ok := slices.BinarySearchFunc(list, n, compare)
	if ok {
		return list
	}
	return slices.Insert(slices.Clone(list), at, n)
}

// roundUp returns the next power of two, at least four.
func roundUp(n int) int {
	if n == 0 {
		return 0
	}
	return max(4, 1<<bits.Len(uint(n-1)))
}
