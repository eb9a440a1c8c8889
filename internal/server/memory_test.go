// SPDX-License-Identifier: Apache-2.0

package server

import (
	"slices"
	"testing"
)

func TestPaceFollowsTheCollector(t *testing.T) {
	p := pace{cycles: 100}
	cycles := uint64(100)
	var got []int
	// At rest, much to do, still some, then six quiet periods, a busy one, and nothing again.
	for _, n := range []uint64{0, 4, 5, 9, 2, 0, 1, 0, 0, 1, 3, 0, 0, 0, 0, 0, 0, 0, 6, 0} {
		cycles += n
		got = append(got, p.after(cycles))
	}
	const busy, rest = busyGCPercent, restGCPercent
	want := []int{0, 0, busy, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, rest, 0, busy, 0}
	if !slices.Equal(got, want) {
		t.Errorf("percentages %v, want %v", got, want)
	}
}
