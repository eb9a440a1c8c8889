// SPDX-License-Identifier: Apache-2.0

package handover

import (
	"net/netip"
	"path/filepath"
	"testing"

	"eastwest/internal/table"
)

// Rows are read as they were written, in each field: a list that is empty is another one than none.
func TestRowsAreReadAsWritten(t *testing.T) {
	addr, port := netip.MustParseAddr("fd00::1"), netip.MustParseAddrPort("[fd00::2]:80")
	full := table.Frontend{
		Kind: table.LoadBalancer, View: table.Outside, Addr: addr, Protocol: table.SCTP, Port: 80, PortName: "http", Action: table.Drop, Local: true,
		Endpoints: []netip.AddrPort{port}, Draining: []netip.AddrPort{port, netip.MustParseAddrPort("192.0.2.1:1")}, Masquerade: table.Always,
		AffinitySeconds: 10800, SourceRanges: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("::/0")}, LocalSocket: true,
	}
	nobody, everybody := full, full
	nobody.SourceRanges, everybody.SourceRanges = []netip.Prefix{}, nil
	rows := map[string]table.Service{}
	for name, row := range map[string]table.Service{
		"full": {Frontends: []table.Frontend{full, nobody, everybody, {}}, Hairpin: []netip.Addr{addr}, Addresses: []netip.Addr{addr, addr}, HealthCheck: 1, LocalEndpoints: 2},
		"none": {},
	} {
		row.Object = table.Object{Kind: "Service", Namespace: "default", Name: name}
		rows[row.Key()] = row
	}
	backend := &Backend{config: Config{File: filepath.Join(t.TempDir(), "image"), Place: "here", Form: "this"}}
	if err := backend.write(image{Place: "here", Form: "this", Generation: 7, Rest: []byte("rest"), rows: table.Table[table.Service]{}.With(rows)}); err != nil {
		t.Fatal(err)
	}
	left := backend.read()
	if left.err != nil || left.what.Generation != 7 || string(left.what.Rest) != "rest" || len(left.rows) != len(rows) {
		t.Fatalf("%v, %+v, %d rows", left.err, left.what, len(left.rows))
	}
	for _, row := range left.rows {
		if !row.Equal(rows[row.Key()]) {
			t.Errorf("%+v, want %+v", row, rows[row.Key()])
		}
	}
}
