// SPDX-License-Identifier: Apache-2.0

package nftables

import "testing"

// A draw has a slot for each endpoint; it is exact for few endpoints, and misses seldom with more. Below its power of two no
// slot is empty.
func TestDraws(t *testing.T) {
	last := draw(0)
	for n := 1; n <= 300000; n++ {
		d := drawAmong(n)
		if d < last || d > last+1 {
			t.Fatalf("%d endpoints: draw %d after %d", n, d, last)
		}
		last = d
		empty := d.slots() - n
		if empty < 0 || n <= exactSlots && empty > 0 || empty*17 > d.slots() {
			t.Fatalf("%d endpoints: %d slots", n, d.slots())
		}
		if n <= exactSlots {
			continue
		}
		if full, _ := d.base(); full >= n || full*2 < n {
			t.Fatalf("%d endpoints: the last try is one of %d", n, full)
		}
	}
	if last >= dropped {
		t.Errorf("draw %d has the number that says drop", last)
	}
}
