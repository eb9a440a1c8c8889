// SPDX-License-Identifier: Apache-2.0

package table

import (
	"maps"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// A table behaves as a map that is copied on every change, and no change shows in an older table.
func TestTableIsAnImmutableMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		key := rapid.StringMatching(`[a-d]/[a-h]`)
		var have Table[int]
		want := map[string]int{}
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			older, olderWant := have, maps.Clone(want)
			set := rapid.MapOf(key, rapid.Int()).Draw(t, "set")
			remove := rapid.SliceOf(key).Draw(t, "remove")
			have = have.With(set, remove...)
			change(want, set, remove)
			check(t, have, want)
			check(t, older, olderWant)
		}
	})
}

// So does one of as many rows as a large cluster has Services.
func TestLargeTable(t *testing.T) {
	for seed := range uint64(3) {
		random := rand.New(rand.NewPCG(seed, 0))
		key := func() string { return strconv.Itoa(random.IntN(20000)) }
		var have, older Table[int]
		want, olderWant := map[string]int{}, map[string]int{}
		for _, n := range []int{15000, 3000, 1, 0} {
			older, olderWant = have, maps.Clone(want)
			set, remove := map[string]int{}, []string(nil)
			for range n {
				set[key()] = random.Int()
				remove = append(remove, key())
			}
			have = have.With(set, remove...)
			change(want, set, remove)
			check(t, have, want)
		}
		check(t, older, olderWant)
	}
}

// change does to a map what With does to a table.
func change(rows, set map[string]int, remove []string) {
	for _, k := range remove {
		delete(rows, k)
	}
	maps.Copy(rows, set)
}

func check(t rapid.TB, have Table[int], want map[string]int) {
	if diff := cmp.Diff(want, maps.Collect(have.All())); diff != "" {
		t.Fatalf("rows differ (-want +have):\n%s", diff)
	}
	if have.Len() != len(want) || len(have.Keys()) != len(want) {
		t.Fatalf("Len = %d, Keys = %d, want %d", have.Len(), len(have.Keys()), len(want))
	}
	for k, v := range want {
		if row, ok := have.Get(k); !ok || row != v {
			t.Fatalf("Get(%s) = %d, %v; want %d", k, row, ok, v)
		}
	}
}
