// SPDX-License-Identifier: Apache-2.0

package nft_test

import (
	"encoding/binary"
	"testing"

	"eastwest/internal/kernel/netns/netnstest"
	"eastwest/internal/kernel/nft"
)

// Whoever looks up keys gets the elements that there are, whole and in order, and nothing of the others.
func TestLookup(t *testing.T) {
	conn := nft.New(netnstest.New(t))
	if err := conn.Run(t.Context(), "table ip ours {\n\tmap m {\n\t\ttype classid : ipv4_addr\n\t}\n}\n"); err != nil {
		t.Fatal(err)
	}
	key := func(n int) string { return string(binary.BigEndian.AppendUint32(nil, uint32(n))) }
	op := nft.Op{Family: nft.IPv4, Table: "ours", Set: "m"}
	for n := range 1000 {
		if n%7 != 0 {
			op.Add = append(op.Add, nft.Element{Key: key(n), Data: key(n + 1), Comment: "the comment of an element"})
		}
	}
	if err := conn.Change(t.Context(), []nft.Op{op}); err != nil {
		t.Fatal(err)
	}
	var keys []string
	var want []nft.Element
	for n := 100; n < 1100; n++ {
		keys = append(keys, key(n))
		if n%7 != 0 && n < 1000 {
			want = append(want, nft.Element{Key: key(n), Data: key(n + 1), Comment: "the comment of an element"})
		}
	}
	have, err := conn.Lookup(t.Context(), nft.IPv4, "ours", "m", keys)
	if err != nil || len(have) != len(want) {
		t.Fatalf("%v, found %d of %d elements", err, len(have), len(want))
	}
	for i := range have {
		if have[i] != want[i] {
			t.Errorf("element %d is %+v, want %+v", i, have[i], want[i])
		}
	}
}
