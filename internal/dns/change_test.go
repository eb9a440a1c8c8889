// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"context"
	"fmt"
	"net/netip"
	"testing"

	"eastwest/internal/table"
)

// BenchmarkChange moves one of ten endpoints of one of ten thousand services.
func BenchmarkChange(b *testing.B) {
	const services, endpoints = 10_000, 10
	row := func(i, moved int) table.Name {
		r := table.Name{Object: objectOf(fmt.Sprint("ns-", i/100), fmt.Sprint("service-", i)), TTL: 30, ClusterIPs: []netip.Addr{addressOf(96, i)}}
		for e := range endpoints {
			n := i*endpoints + e
			if e == 0 {
				n += moved
			}
			r.Endpoints = append(r.Endpoints, table.NameEndpoint{Addr: addressOf(128, n), Ports: []table.NamePort{{Name: "http", Protocol: "tcp", Port: 80}}})
		}
		return r
	}
	rows := make([]table.Name, services)
	for i := range rows {
		rows[i] = row(i, 0)
	}
	z := testZone(b, rows...)
	all := *z.rows.Load()
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		n++
		i := n % services
		r := row(i, services*endpoints+n)
		all = all.With(map[string]table.Name{rowKey(r): r})
		if err := z.Apply(context.Background(), all, table.Keys{Names: []string{rowKey(r)}}); err != nil {
			b.Fatal(err)
		}
	}
}

func addressOf(first byte, n int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, first + byte(n>>16), byte(n >> 8), byte(n)})
}
