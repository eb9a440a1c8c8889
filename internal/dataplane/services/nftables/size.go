// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"fmt"
	"maps"
	"math/bits"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"eastwest/internal/kernel/nft"
	"eastwest/internal/table"
)

// size is what of the services shows in the constant part of the table: how many slots there are and which timeouts
// clients are remembered for. It only grows while the table lives.
type size struct {
	slots    [groups]int
	timeouts [groups][]uint32 // in seconds, sorted
}

// maxEndpoints is how many endpoints a Service may have. Each has chains and a map, and nft and the kernel take time that
// grows with the square of these: 2 s for 1,000 endpoints of one Service, 17 s for 4,000, a minute for 8,000.
const maxEndpoints = 8192

// check refuses a service that is too large to be written in good time, so that it holds up no other.
func check(row table.Service) error {
	for _, f := range row.Frontends {
		if n := len(f.Endpoints); n > maxEndpoints {
			return fmt.Errorf("service %s has %d endpoints, and nftables serves at most %d: use --backend ipvs, or split the Service", row.Key(), n, maxEndpoints)
		}
	}
	return nil
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

// sizeOf reads the size out of a listing.
func sizeOf(listing string) size {
	var s size
	for g := range groups {
		s.slots[g] = strings.Count(listing, "\tmap "+g.String()+"-endpoint-")
		found := map[uint32]bool{}
		pattern := regexp.MustCompile(`\tchain ` + g.String() + `-of-1-sticky-(\d+) `)
		for _, match := range pattern.FindAllStringSubmatch(listing, -1) {
			if seconds, err := strconv.ParseUint(match[1], 10, 32); err == nil {
				found[uint32(seconds)] = true
			}
		}
		s.timeouts[g] = slices.Sorted(maps.Keys(found))
	}
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
