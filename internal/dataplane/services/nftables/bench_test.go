// SPDX-License-Identifier: Apache-2.0

package nftables_test

import (
	"fmt"
	"net/netip"
	"testing"

	"eastwest/internal/kernel/netns/netnstest"
	"eastwest/internal/table"
)

// many makes services with so many endpoints each.
func many(services, endpoints int) table.Table[table.Service] {
	rows := map[string]table.Service{}
	for i := range services {
		s := table.Service{
			Object:    table.Object{Kind: "Service", Namespace: "default", Name: fmt.Sprint("s", i)},
			Addresses: []netip.Addr{netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)})},
		}
		f := table.Frontend{Addr: s.Addresses[0], Protocol: table.TCP, Port: 80, PortName: "http", Masquerade: table.FromOutside, Action: table.Forward}
		for e := range endpoints {
			n := i*endpoints + e
			f.Endpoints = append(f.Endpoints, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 128 + byte(n>>16), byte(n >> 8), byte(n)}), 8080))
		}
		s.Frontends = []table.Frontend{f}
		rows[s.Key()] = s
	}
	return table.Table[table.Service]{}.With(rows)
}

func BenchmarkFullSync(b *testing.B) {
	for _, size := range []struct{ services, endpoints int }{{10000, 10}, {44000, 1}, {5000, 50}, {1, 8000}, {1, 20000}} {
		b.Run(fmt.Sprintf("%dx%d", size.services, size.endpoints), func(b *testing.B) {
			want := many(size.services, size.endpoints)
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
	want := many(1, 10000)
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
	want := many(10000, 10)
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
	want, ns := many(10000, 10), netnstest.New(b)
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
