// SPDX-License-Identifier: Apache-2.0

package connections_test

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"eastwest/internal/dataplane"
	"eastwest/internal/dataplane/connections"
	"eastwest/internal/kernel/conntrack"
	"eastwest/internal/table"
)

// entries are what a kernel tracks.
type entries []conntrack.Entry

func (e *entries) Delete(_ context.Context, _ uint8, _ []netip.AddrPort, stale func(conntrack.Entry) bool) (removed int, err error) {
	var left entries
	for _, entry := range *e {
		if stale(entry) {
			removed++
		} else {
			left = append(left, entry)
		}
	}
	*e = left
	return removed, nil
}

func (*entries) Addresses(context.Context) (map[netip.Addr]bool, error) {
	return map[netip.Addr]bool{}, nil
}

type nothing struct {
	dataplane.Dataplane[table.Service]
}

func (nothing) Apply(context.Context, table.Table[table.Service], table.Keys) error { return nil }

// What is removed is told by family; what leads to an address that another proxy serves stays.
func TestRemovedConnectionsAreCounted(t *testing.T) {
	entry := func(to, endpoint string) conntrack.Entry {
		return conntrack.Entry{To: netip.MustParseAddrPort(to), Endpoint: netip.MustParseAddrPort(endpoint)}
	}
	kernel := &entries{
		entry("10.96.0.7:53", "10.244.0.2:53"), entry("[fd00:96::7]:53", "[fd00:10::2]:53"), entry("[fd00:96::8]:53", "[fd00:10::2]:53"),
		entry("10.96.0.9:53", "10.244.0.2:53"), entry("192.0.2.1:53", "10.244.0.2:53"),
	}
	var told table.Count
	b := connections.After(nothing{}, connections.Config{
		Kernel: kernel, ServiceCIDRs: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/12"), netip.MustParsePrefix("fd00:96::/112")},
		Observe: func(removed table.Count, _ time.Duration) { told = removed },
	})
	others := table.Service{Object: table.Object{Namespace: "default", Name: "others"}, Elsewhere: []netip.Addr{netip.MustParseAddr("10.96.0.9")}}
	if err := b.Apply(t.Context(), table.Table[table.Service]{}.With(map[string]table.Service{others.Key(): others}), table.Keys{All: true}); err != nil {
		t.Fatal(err)
	}
	if want := (table.Count{IPv4: 1, IPv6: 2}); told != want || len(*kernel) != 2 {
		t.Errorf("told %+v, want %+v; left %v", told, want, *kernel)
	}
}
