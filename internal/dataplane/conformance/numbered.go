// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"fmt"
	"net/netip"

	"eastwest/internal/table"
)

// Numbered makes a table of Services default/s0, default/s1, … with so many endpoints each, no two of which are alike; for benchmarks, and
// for what comes with numbers.
func Numbered(count, endpoints int) table.Table[table.Service] {
	rows := map[string]table.Service{}
	for i := range count {
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
