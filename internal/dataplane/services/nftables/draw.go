// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"fmt"
	"math/bits"
)

// draw is the number of a way to draw an endpoint. Up to exactSlots it is how many endpoints there are. Beyond, chains for
// every number would be too many: there are stepsOfDoubling draws from one power of two to the next. Such a draw has a few more
// slots than endpoints, and when it meets an empty one it is repeated, so that each endpoint is still as likely as the others.
type draw uint32

const (
	exactBits       = 7
	exactSlots      = 1 << exactBits
	stepsOfDoubling = 16
	// repeats is how often an inexact draw is made. One in 17 of them at most meets an empty slot; after so many, one connection
	// in 80,000 is left, which goes to one of the endpoints below the power of two.
	repeats = 4
)

// drawAmong returns the draw for n endpoints; 0 is none.
func drawAmong(n int) draw {
	if n <= exactSlots {
		return draw(n)
	}
	power := bits.Len(uint(n-1)) - 1
	step := 1 << power / stepsOfDoubling
	steps := (n - 1<<power + step - 1) / step
	return draw(exactSlots + (power-exactBits)*stepsOfDoubling + steps)
}

// base returns the power of two below the draw's slots, all of which have endpoints, and how many slots there are beyond.
func (d draw) base() (full, more int) {
	n := int(d) - exactSlots - 1
	full = exactSlots << (n / stepsOfDoubling)
	return full, full / stepsOfDoubling * (n%stepsOfDoubling + 1)
}

// slots returns how many slots the draw has.
func (d draw) slots() int {
	if d <= exactSlots {
		return int(d)
	}
	full, more := d.base()
	return full + more
}

// tries returns the slots to try, in turn, as expressions of nft.
func (d draw) tries() []string {
	random := func(slots int) string { return fmt.Sprintf("numgen random mod %d", slots) }
	switch {
	case d == 1:
		return []string{classID(0)}
	case d <= exactSlots:
		return []string{random(d.slots())}
	}
	var out []string
	for range repeats {
		out = append(out, random(d.slots()))
	}
	full, _ := d.base()
	return append(out, random(full))
}
