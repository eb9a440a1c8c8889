// SPDX-License-Identifier: Apache-2.0

package ipvs_test

import (
	"context"
	"net/netip"
	"testing"

	"eastwest/internal/dataplane"
	"eastwest/internal/dataplane/conformance"
	"eastwest/internal/kernel/ipvs/ipvstest"
	"eastwest/internal/kernel/netns/netnstest"
	"eastwest/internal/kernel/nft"
	"eastwest/internal/table"
)

// counting counts what is written, to see that nothing is written without need.
type counting struct {
	*nft.Conn
	scripts, changes int
}

func (c *counting) Run(ctx context.Context, script string) error {
	c.scripts++
	return c.Conn.Run(ctx, script)
}

func (c *counting) Change(ctx context.Context, ops []nft.Op) error {
	c.changes++
	return c.Conn.Change(ctx, ops)
}

// A second process that finds everything in place writes nothing, however pods are told from others.
func TestRestartRewritesNothing(t *testing.T) {
	prefixes := func(list ...string) (out []netip.Prefix) {
		for _, text := range list {
			out = append(out, netip.MustParsePrefix(text))
		}
		return out
	}
	for _, config := range []conformance.Config{
		{},
		{Local: dataplane.Local{CIDRs: prefixes("10.244.0.0/16", "fd00:10::/48")}, ServiceCIDRs: prefixes("10.96.0.0/12", "fd00:96::/108")},
		{Local: dataplane.Local{CIDRs: prefixes("10.244.0.0/16", "10.10.0.0/16")}, NodePortAddresses: prefixes("0.0.0.0/0", "127.0.0.0/8")},
		{Local: dataplane.Local{Bridge: "br0"}},
		{Local: dataplane.Local{InterfacePrefix: "veth"}},
	} {
		servers, rules := &ipvstest.Fake{}, &counting{Conn: nft.New(netnstest.New(t))}
		for start := range 2 {
			rules.scripts, rules.changes = 0, 0
			if err := withRules(t, servers, rules, config).Apply(t.Context(), tableOf(nginx(2)), table.Keys{All: true}); err != nil {
				t.Fatal(err)
			}
			if written := rules.scripts + rules.changes; (written == 0) != (start == 1) {
				t.Errorf("%+v: start %d ran %d scripts and %d changes", config, start, rules.scripts, rules.changes)
			}
		}
	}
}

// nginx makes a Service with every kind of frontend.
func nginx(endpoints int) table.Service {
	row := table.Service{
		Object:    table.Object{Kind: "Service", Namespace: "default", Name: "nginx"},
		Addresses: []netip.Addr{netip.MustParseAddr("10.96.0.7")},
	}
	for _, f := range []table.Frontend{
		{Kind: table.ClusterIP, Addr: row.Addresses[0], Port: 80, Masquerade: table.FromOutside},
		{Kind: table.NodePort, Addr: netip.IPv4Unspecified(), Port: 31000, Masquerade: table.FromOutside},
		{Kind: table.NodePort, View: table.Outside, Addr: netip.IPv4Unspecified(), Port: 31000, Local: true},
		{Kind: table.LoadBalancer, Addr: netip.MustParseAddr("198.51.100.7"), Port: 80, Masquerade: table.Always, SourceRanges: []netip.Prefix{netip.MustParsePrefix("172.18.0.0/16")}},
	} {
		f.Protocol, f.PortName, f.Action = table.TCP, "http", table.Reject
		for e := range endpoints {
			f.Action = table.Forward
			f.Endpoints = append(f.Endpoints, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 244, 1, byte(e + 2)}), 80))
		}
		row.Frontends = append(row.Frontends, f)
	}
	return row
}

func tableOf(rows ...table.Service) table.Table[table.Service] {
	set := map[string]table.Service{}
	for _, row := range rows {
		set[row.Key()] = row
	}
	return table.Table[table.Service]{}.With(set)
}
