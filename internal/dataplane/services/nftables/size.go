// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"iter"
	"math/bits"
	"regexp"
	"slices"
	"strconv"

	"eastwest/internal/kernel/nft"
	"eastwest/internal/table"
)

// size is what of the services shows in the constant part of the table: how many slots there are and which timeouts
// clients are remembered for. It only grows while the table lives.
type size struct {
	slots    [groups]int
	timeouts [groups][]uint32 // in seconds, sorted
}

// draws returns the draws that a group needs, the smallest first.
func (s size) draws(g group) iter.Seq[draw] {
	return func(yield func(draw) bool) {
		for d := draw(1); d <= drawAmong(s.slots[g]); d++ {
			if !yield(d) {
				return
			}
		}
	}
}

// include raises the size to what a service needs.
func (s *size) include(row table.Service, family nft.Family) {
	for _, f := range row.Frontends {
		if !of(family, f.Addr) {
			continue
		}
		g := mapOf(f).group
		s.slots[g] = max(s.slots[g], len(f.Endpoints))
		if f.AffinitySeconds > 0 && len(f.Endpoints) > 0 {
			s.timeouts[g] = with(s.timeouts[g], f.AffinitySeconds)
		}
	}
}

// union returns the size that holds both; slots are rounded up, so that growing is rare.
func (s size) union(t size) size {
	for g := range groups {
		if t.slots[g] > s.slots[g] {
			s.slots[g] = roundUp(t.slots[g])
		}
		for _, seconds := range t.timeouts[g] {
			s.timeouts[g] = with(s.timeouts[g], seconds)
		}
	}
	return s
}

func (s size) equal(t size) bool {
	for g := range groups {
		if s.slots[g] != t.slots[g] || !slices.Equal(s.timeouts[g], t.timeouts[g]) {
			return false
		}
	}
	return true
}

var (
	drawLine   = regexp.MustCompile(`\tchain (\S+)-of-(\d+) \{`)
	stickyLine = regexp.MustCompile(`\tchain (\S+)-of-1-sticky-(\d+) \{`)
)

// sizeOf reads the size out of a listing.
func sizeOf(listing string) size {
	var s size
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
	each(stickyLine, func(g group, n uint32) { s.timeouts[g] = with(s.timeouts[g], n) })
	return s
}

// with returns a sorted copy of the list that has n.
func with(list []uint32, n uint32) []uint32 {
	at, ok := slices.BinarySearch(list, n)
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
