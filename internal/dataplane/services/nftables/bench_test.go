// SPDX-License-Identifier: Apache-2.0

package nftables_test

import (
	"fmt"
	"testing"

	"eastwest/internal/dataplane/conformance"
	"eastwest/internal/kernel/netns/netnstest"
	"eastwest/internal/table"
)

func BenchmarkFullSync(b *testing.B) {
	for _, size := range []struct{ services, endpoints int }{{10000, 10}, {44000, 1}, {5000, 50}, {1, 8000}, {1, 20000}} {
		b.Run(fmt.Sprintf("%dx%d", size.services, size.endpoints), func(b *testing.B) {
			want := conformance.Numbered(size.services, size.endpoints)
			for b.Loop() {
				b.StopTimer()
				ns := netnstest.New(b)
				backend, _ := newBackend(b, ns)
				b.StartTimer()
				if err := backend.Apply(b.Context(), want, table.Keys{All: true}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// The first of many endpoints goes and comes back.
func BenchmarkFirstOfManyEndpoints(b *testing.B) {
	want := conformance.Numbered(1, 10000)
	backend, _ := newBackend(b, netnstest.New(b))
	if err := backend.Apply(b.Context(), want, table.Keys{All: true}); err != nil {
		b.Fatal(err)
	}
	all, _ := want.Get("default/s0")
	for i := 0; b.Loop(); i++ {
		row := all
		row.Frontends = append([]table.Frontend(nil), row.Frontends...)
		row.Frontends[0].Endpoints = row.Frontends[0].Endpoints[1-i%2:]
		want = want.With(map[string]table.Service{"default/s0": row})
		if err := backend.Apply(b.Context(), want, table.Keys{Names: []string{"default/s0"}}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOneEndpoint(b *testing.B) {
	want := conformance.Numbered(10000, 10)
	backend, _ := newBackend(b, netnstest.New(b))
	if err := backend.Apply(b.Context(), want, table.Keys{All: true}); err != nil {
		b.Fatal(err)
	}
	for i := 0; b.Loop(); i++ {
		row, _ := want.Get("default/s5")
		row.Frontends = append([]table.Frontend(nil), row.Frontends...)
		row.Frontends[0].Endpoints = row.Frontends[0].Endpoints[:9+i%2]
		want = want.With(map[string]table.Service{"default/s5": row})
		if err := backend.Apply(b.Context(), want, table.Keys{Names: []string{"default/s5"}}); err != nil {
			b.Fatal(err)
		}
	}
}

// A new process finds everything in place.
func BenchmarkRestart(b *testing.B) {
	want, ns := conformance.Numbered(10000, 10), netnstest.New(b)
	first, _ := newBackend(b, ns)
	if err := first.Apply(b.Context(), want, table.Keys{All: true}); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		backend, kernel := newBackend(b, ns)
		if err := backend.Apply(b.Context(), want, table.Keys{All: true}); err != nil || kernel.Scripts+kernel.Changes > 0 {
			b.Fatal(err, kernel.Scripts, kernel.Changes)
		}
	}
}
