// SPDX-License-Identifier: Apache-2.0

package iptables_test

import (
	"fmt"
	"log/slog"
	"testing"

	"eastwest/internal/dataplane/conformance"
	services "eastwest/internal/dataplane/services/iptables"
	"eastwest/internal/kernel/iptables"
	"eastwest/internal/kernel/netns/netnstest"
	"eastwest/internal/table"
)

func BenchmarkFullSync(b *testing.B) {
	for _, services := range []int{1000, 10000} {
		b.Run(fmt.Sprintf("%dx10", services), func(b *testing.B) {
			want := conformance.Numbered(services, 10)
			for b.Loop() {
				b.StopTimer()
				backend := bench(b, iptables.New(netnstest.New(b)))
				b.StartTimer()
				if err := backend.Apply(b.Context(), want, table.Keys{All: true}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkOneEndpoint(b *testing.B) {
	for _, services := range []int{1000, 10000} {
		b.Run(fmt.Sprintf("%dx10", services), func(b *testing.B) {
			want := conformance.Numbered(services, 10)
			backend := bench(b, iptables.New(netnstest.New(b)))
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
		})
	}
}

// A new process finds everything in place.
func BenchmarkRestart(b *testing.B) {
	want, kernel := conformance.Numbered(10000, 10), &counting{Conn: iptables.New(netnstest.New(b))}
	if err := bench(b, kernel).Apply(b.Context(), want, table.Keys{All: true}); err != nil {
		b.Fatal(err)
	}
	kernel.restores = nil
	for b.Loop() {
		if err := bench(b, kernel).Apply(b.Context(), want, table.Keys{All: true}); err != nil || len(kernel.restores) > 0 {
			b.Fatal(err, len(kernel.restores))
		}
	}
}

func bench(b *testing.B, kernel services.Kernel) *services.Backend {
	b.Helper()
	backend, err := services.New(services.Config{Kernel: kernel, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	return backend
}
