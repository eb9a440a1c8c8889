// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"eastwest/internal/dataplane"
	"eastwest/internal/kernel/netns/netnstest"
	"eastwest/internal/table"
)

// Memory makes a backend on an empty kernel in memory, which asks fail before what it does, and returns how to flush that
// kernel.
type Memory func(t *rapid.T, fail func() error) (backend dataplane.Dataplane[table.Service], flush func())

// Histories plays random changes to backends in memory.
func Histories(t *testing.T, make Memory) {
	t.Run("changes equal applying all", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) { changesEqualAll(t, make) })
	})
	t.Run("failures converge", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) { failuresConverge(t, make) })
	})
}

func never() error { return nil }

// Applying changes one by one leaves what applying everything to an empty kernel leaves.
func changesEqualAll(t *rapid.T, make Memory) {
	backend, _ := make(t, never)
	last := history(t, func(want table.Table[table.Service], changed table.Keys) {
		if err := backend.Apply(context.Background(), want, changed); err != nil {
			t.Fatal(err)
		}
	})
	equalToFresh(t, make, backend, last)
}

// Whatever fails, trying again with everything leads to the wanted state.
func failuresConverge(t *rapid.T, make Memory) {
	failing := true
	backend, flush := make(t, func() error {
		if failing && rapid.IntRange(0, 4).Draw(t, "fail") == 0 {
			return errors.New("the kernel is in a bad mood")
		}
		return nil
	})
	last := history(t, func(want table.Table[table.Service], changed table.Keys) {
		if rapid.IntRange(0, 9).Draw(t, "flush") == 0 {
			flush()
			changed.All = true // as a resync does
		}
		failing = true
		for try := 0; ; try++ {
			err := backend.Apply(context.Background(), want, changed)
			if err == nil {
				break
			}
			if try > 3 {
				t.Fatalf("no failure is left, but: %v", err)
			}
			changed.All = true
			failing = try < 3
		}
		failing = false
	})
	equalToFresh(t, make, backend, last)
}

func equalToFresh(t *rapid.T, make Memory, backend dataplane.Dataplane[table.Service], want table.Table[table.Service]) {
	fresh, _ := make(t, never)
	if err := fresh.Apply(context.Background(), want, table.Keys{All: true}); err != nil {
		t.Fatal(err)
	}
	equalDumps(t, fresh, backend)
}

// fataler is what testing.T and rapid.T have in common here.
type fataler interface {
	Helper()
	Fatal(args ...any)
	Fatalf(format string, args ...any)
}

func equalDumps(t fataler, fresh, changed dataplane.Dataplane[table.Service]) {
	t.Helper()
	want, err := fresh.Dump(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	have, err := changed.Dump(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Fatalf("kernel (-fresh +changed):\n%s", diff)
	}
}

// KernelHistories plays random changes on the kernel: after each step it holds what a full sync from nothing would have
// written.
func KernelHistories(t *testing.T, make func(t *testing.T, ns string) dataplane.Dataplane[table.Service]) {
	ns, fresh := netnstest.New(t), netnstest.New(t)
	type step struct {
		want    table.Table[table.Service]
		changed table.Keys
	}
	for seed := range 4 {
		backend := make(t, ns)
		steps := rapid.Custom(func(t *rapid.T) (steps []step) {
			history(t, func(want table.Table[table.Service], changed table.Keys) { steps = append(steps, step{want, changed}) })
			return steps
		}).Example(seed)
		for i, s := range steps {
			t.Logf("seed %d, step %d", seed, i)
			if err := backend.Apply(t.Context(), s.want, s.changed); err != nil {
				t.Fatal(err)
			}
			other := make(t, fresh)
			if err := other.Remove(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := other.Apply(t.Context(), s.want, table.Keys{All: true}); err != nil {
				t.Fatal(err)
			}
			equalDumps(t, other, backend)
		}
	}
}

// overlapping overlap from one to the next, never within one.
var overlapping = [][]netip.Prefix{
	{}, {netip.MustParsePrefix("192.0.2.0/24")}, {netip.MustParsePrefix("192.0.0.0/16")}, {netip.MustParsePrefix("0.0.0.0/0")},
	{netip.MustParsePrefix("192.0.2.0/25"), netip.MustParsePrefix("192.0.2.128/25")},
}

// drawRow makes a service with its own addresses and any endpoints.
func drawRow(t *rapid.T, n int) table.Service {
	s := table.Service{Object: table.Object{Kind: "Service", Namespace: "default", Name: fmt.Sprint("s", n)}}
	four, six := netip.AddrFrom4([4]byte{10, 96, 0, byte(n)}), netip.MustParseAddr(fmt.Sprintf("fd00:96::%d", n+1))
	if rapid.IntRange(0, 5).Draw(t, "another proxy's") == 0 {
		s.Elsewhere = []netip.Addr{four, six}
		return s
	}
	s.Addresses = []netip.Addr{four, six}
	for i, addr := range []netip.Addr{four, six, netip.IPv4Unspecified(), netip.IPv4Unspecified()} {
		f := table.Frontend{
			Addr: addr, Port: uint16(8000 + n), Masquerade: table.FromOutside, Action: table.Reject,
			Protocol:        rapid.SampledFrom([]table.Protocol{table.TCP, table.UDP}).Draw(t, "protocol"),
			AffinitySeconds: rapid.SampledFrom([]uint32{0, 0, 60, 10800}).Draw(t, "affinity"),
		}
		if i >= 2 {
			f.Kind, f.View = table.NodePort, table.View(i-2)
		}
		for e := range rapid.IntRange(0, 5).Draw(t, "endpoints") {
			endpoint := netip.AddrFrom4([4]byte{10, 244, byte(rapid.IntRange(0, 1).Draw(t, "node")), byte(e)})
			if addr.Is6() {
				endpoint = netip.MustParseAddr(fmt.Sprintf("fd00:10::%d", e+1))
			}
			f.Action = table.Forward
			f.Endpoints = append(f.Endpoints, netip.AddrPortFrom(endpoint, 80))
			if i == 0 && endpoint.As4()[2] == 0 {
				s.Hairpin = append(s.Hairpin, endpoint)
			}
		}
		if i == 0 && rapid.Bool().Draw(t, "ranges") {
			f.SourceRanges = rapid.SampledFrom(overlapping).Draw(t, "source ranges")
		}
		s.Frontends = append(s.Frontends, f)
	}
	return s
}

// history plays random changes, gives the table and what changed to step after each, and returns the last table.
func history(t *rapid.T, step func(want table.Table[table.Service], changed table.Keys)) (rows table.Table[table.Service]) {
	for i := range rapid.IntRange(1, 6).Draw(t, "steps") {
		set := map[string]table.Service{}
		changed := table.Keys{All: i == 0}
		var remove []string
		for range rapid.IntRange(1, 3).Draw(t, "changes") {
			n := rapid.IntRange(0, 4).Draw(t, "service")
			key := fmt.Sprint("default/s", n)
			changed.Names = append(changed.Names, key)
			if rapid.IntRange(0, 3).Draw(t, "delete") == 0 {
				remove = append(remove, key)
				delete(set, key)
				continue
			}
			set[key] = drawRow(t, n)
		}
		rows = rows.With(set, remove...)
		step(rows, changed)
	}
	return rows
}
