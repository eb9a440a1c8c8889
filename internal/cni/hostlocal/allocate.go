// SPDX-License-Identifier: Apache-2.0

package hostlocal

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"

	current "github.com/containernetworking/cni/pkg/types/100"
)

// allocate takes one address from a range set: the one asked for, if any, else the next after the last one handed out,
// so that an address is used again as late as possible.
func (s *store) allocate(set rangeSet, part int, o owner, asked netip.Addr) (*current.IPConfig, error) {
	if asked.IsValid() {
		return s.allocateAsked(set, part, o, asked)
	}
	held, err := s.find(o)
	if err != nil {
		return nil, err
	}
	for _, a := range held {
		if set.find(a) >= 0 {
			return nil, fmt.Errorf("%s has been allocated to %s, duplicate allocation is not allowed", a, o.container)
		}
	}
	var reserved *current.IPConfig
	var failed error
	for a, r := range set.from(s.last(part)) {
		ok, err := s.reserve(a, o, part)
		if err != nil {
			failed = err
			break
		}
		if ok {
			reserved = r.config(a)
			break
		}
	}
	if reserved == nil && failed == nil {
		failed = s.exhausted(set)
	}
	return reserved, failed
}

func (s *store) allocateAsked(set rangeSet, part int, o owner, asked netip.Addr) (*current.IPConfig, error) {
	r := set[set.find(asked)]
	if asked == r.gateway {
		return nil, fmt.Errorf("requested ip %s is subnet's gateway", asked)
	}
	ok, err := s.reserve(asked, o, part)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, fmt.Errorf("requested IP address %s is not available in range set %s%s", asked, set, s.heldBy(asked))
	}
	return r.config(asked), nil
}

func (r addrRange) config(a netip.Addr) *current.IPConfig {
	return &current.IPConfig{
		Address: net.IPNet{IP: a.AsSlice(), Mask: net.CIDRMask(r.subnet.Bits(), a.BitLen())},
		Gateway: r.gateway.AsSlice(),
	}
}

// from yields every address of the set that may be handed out, once, starting after last if that is in the set.
func (s rangeSet) from(last netip.Addr) func(yield func(netip.Addr, addrRange) bool) {
	return func(yield func(netip.Addr, addrRange) bool) {
		first := s.find(last)
		if first < 0 {
			first, last = 0, netip.Addr{}
		}
		for n := range len(s) + 1 {
			r := s[(first+n)%len(s)]
			start, end := r.start, r.end
			switch {
			case n == 0 && last.IsValid() && last == r.end:
				continue
			case n == 0 && last.IsValid():
				start = last.Next()
			case n == len(s) && !last.IsValid():
				return
			case n == len(s):
				end = last
			}
			if !r.each(start, end, yield) {
				return
			}
		}
	}
}

func (r addrRange) each(start, end netip.Addr, yield func(netip.Addr, addrRange) bool) bool {
	for a := start; ; a = a.Next() {
		if a != r.gateway && !yield(a, r) {
			return false
		}
		if a == end {
			return true
		}
	}
}

// shownOwners bounds how many holders a message lists.
const shownOwners = 5

// exhausted says which ranges are full, how many addresses are held and who holds the most.
func (s *store) exhausted(set rangeSet) error {
	all, err := s.leases()
	if err != nil {
		return fmt.Errorf("no IP addresses available in range set: %s", set)
	}
	held, count := map[string]int{}, 0
	for _, l := range all {
		if set.find(l.addr) >= 0 {
			held[l.owner.container]++
			count++
		}
	}
	names := slices.SortedFunc(maps.Keys(held), func(a, b string) int {
		if held[a] != held[b] {
			return held[b] - held[a]
		}
		return strings.Compare(a, b)
	})
	shown := make([]string, 0, shownOwners+1)
	for _, name := range names[:min(len(names), shownOwners)] {
		shown = append(shown, fmt.Sprintf("%s (%d)", name, held[name]))
	}
	if more := len(names) - shownOwners; more > 0 {
		shown = append(shown, fmt.Sprintf("and %d more containers", more))
	}
	return fmt.Errorf("no IP addresses available in range set: %s; %d held in %s, by %s", set, count, s.dir, strings.Join(shown, ", "))
}

func (s *store) heldBy(a netip.Addr) string {
	text, err := readBounded(s.path(a))
	if err != nil {
		return ""
	}
	o, _ := parseOwner(text)
	return fmt.Sprintf(": it is held by container %s interface %s", o.container, o.ifName)
}
