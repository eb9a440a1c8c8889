// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"net/netip"
	"testing"
)

func TestFloodGetsNoMoreThanTheOthers(t *testing.T) {
	flood, polite, other := netip.MustParseAddr("10.244.0.3"), netip.MustParseAddr("10.244.0.4"), netip.MustParseAddr("10.244.0.5")
	batch := func(politeOnes, otherOnes int) func(int) netip.Addr {
		return func(i int) netip.Addr {
			switch {
			case i < politeOnes:
				return polite
			case i < politeOnes+otherOnes:
				return other
			}
			return flood
		}
	}
	var f fairness
	for i := range backlog - 1 {
		if heavy, _ := f.look(batchSize, batch(1, 0)); heavy.IsValid() {
			t.Fatalf("a burst of %d batches is taken for a flood", i+1)
		}
	}
	for _, tt := range []struct {
		polite, other int
		heavy         netip.Addr
		share         int
	}{
		{1, 0, flood, leastShare},
		{0, 0, flood, leastShare}, // the others are thought of
		{10, 10, flood, 20},
		{30, 20, netip.Addr{}, 0}, // nobody has more than half
		{60, 0, polite, leastShare},
	} {
		if heavy, share := f.look(batchSize, batch(tt.polite, tt.other)); heavy != tt.heavy || share != tt.share {
			t.Errorf("%d and %d of others: got %s, %d; want %s, %d", tt.polite, tt.other, heavy, share, tt.heavy, tt.share)
		}
	}
	for range rememberFor {
		f.look(batchSize, batch(0, 0))
	}
	if heavy, _ := f.look(batchSize, batch(0, 0)); heavy.IsValid() {
		t.Error("a client that is alone gets less than everything")
	}
	f.look(batchSize-1, batch(1, 0))
	if heavy, _ := f.look(batchSize, batch(1, 0)); heavy.IsValid() {
		t.Error("what was read up is a flood still")
	}
}
