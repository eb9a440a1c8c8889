// SPDX-License-Identifier: Apache-2.0

package connections_test

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"

	"eastwest/internal/dataplane"
	"eastwest/internal/dataplane/connections"
	"eastwest/internal/kernel/conntrack"
	"eastwest/internal/table"
)

// tracked is a connection to a Service.
type tracked struct {
	conntrack.Entry
	protocol uint8
	service  string
}

// entries are what a kernel tracks.
type entries []tracked

var nodeIP = netip.MustParseAddr("172.18.0.2")

func (e *entries) Delete(_ context.Context, which conntrack.Selection) (removed int, err error) {
	var left entries
	for _, entry := range *e {
		seen := entry.protocol == which.Protocol && (len(which.Routes) == 0 || slices.ContainsFunc(which.Routes, entry.on))
		if seen && which.Stale(entry.Entry) {
			removed++
		} else {
			left = append(left, entry)
		}
	}
	*e = left
	return removed, nil
}

// refusing is a kernel that does so for some times.
type refusing struct {
	*entries
	times *int
}

func (r refusing) Delete(ctx context.Context, which conntrack.Selection) (int, error) {
	if *r.times > 0 {
		*r.times--
		return 0, errors.New("not now")
	}
	return r.entries.Delete(ctx, which)
}

// on reports whether the connection is one of a route.
func (t tracked) on(route conntrack.Entry) bool {
	side := func(like, have netip.AddrPort) bool {
		anywhere := !like.Addr().IsValid() || like.Addr().IsUnspecified()
		return (anywhere || like.Addr() == have.Addr()) && (like.Port() == 0 || like.Port() == have.Port())
	}
	return side(route.To, t.To) && side(route.Endpoint, t.Endpoint)
}

func (*entries) Addresses(context.Context) (map[netip.Addr]bool, error) {
	return map[netip.Addr]bool{nodeIP: true}, nil
}

type nothing struct {
	dataplane.Dataplane[table.Service]
}

func (nothing) Apply(context.Context, table.Table[table.Service], table.Keys) error { return nil }

// What is removed is told by family; what leads to an address that another proxy serves stays.
func TestRemovedConnectionsAreCounted(t *testing.T) {
	entry := func(to, endpoint string) tracked {
		return tracked{Entry: conntrack.Entry{To: netip.MustParseAddrPort(to), Endpoint: netip.MustParseAddrPort(endpoint)}, protocol: uint8(table.UDP)}
	}
	kernel := &entries{
		entry("10.96.0.7:53", "10.244.0.2:53"), entry("[fd00:96::7]:53", "[fd00:10::2]:53"), entry("[fd00:96::8]:53", "[fd00:10::2]:53"),
		entry("10.96.0.9:53", "10.244.0.2:53"), entry("192.0.2.1:53", "10.244.0.2:53"),
	}
	var told table.Count
	b := connections.After(nothing{}, connections.Config{
		Kernel: kernel, Node: dataplane.Node{ServiceCIDRs: dataplane.NewRanges(netip.MustParsePrefix("10.96.0.0/12"), netip.MustParsePrefix("fd00:96::/112"))},
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
