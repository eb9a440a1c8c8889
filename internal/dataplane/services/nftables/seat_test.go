// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// Whoever had slots before, also twice or with others among them: every endpoint has one slot, those that may stay do, and no
// more move than went.
func TestSeats(t *testing.T) {
	endpoints := rapid.SliceOfNDistinct(rapid.Uint16Range(1, 40), 0, 30, rapid.ID)
	addrs := func(ports []uint16) (out []netip.AddrPort) {
		for _, port := range ports {
			out = append(out, netip.AddrPortFrom(netip.IPv4Unspecified(), port))
		}
		return out
	}
	rapid.Check(t, func(t *rapid.T) {
		before, want := addrs(endpoints.Draw(t, "before")), addrs(endpoints.Draw(t, "endpoints"))
		if len(before) > 0 && rapid.Bool().Draw(t, "twice") { // what is left of an interrupted change
			before = append(before, before[0])
		}
		slots := seat(before, want)
		sorted := slices.SortedFunc(slices.Values(slots), netip.AddrPort.Compare)
		if !slices.Equal(sorted, slices.SortedFunc(slices.Values(want), netip.AddrPort.Compare)) {
			t.Fatalf("%v sat as %v: now %v, want every endpoint once", want, before, slots)
		}
		changed, gone := 0, 0
		for slot, e := range before {
			switch {
			case !slices.Contains(want, e) || slices.Index(before, e) != slot:
				gone++
			case slot < len(slots) && slots[slot] != e:
				t.Errorf("%v left slot %d, which is still there", e, slot)
			case slot >= len(slots):
				changed++
			}
		}
		if changed > gone {
			t.Errorf("%d endpoints moved although %d went: %v, then %v", changed, gone, before, slots)
		}
	})
}
