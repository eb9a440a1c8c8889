// SPDX-License-Identifier: Apache-2.0

package ipvs_test

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	"eastwest/internal/dataplane"
	"eastwest/internal/dataplane/quarantine"
	"eastwest/internal/kernel/ipvs/ipvstest"
	"eastwest/internal/kernel/netns/netnstest"
	"eastwest/internal/kernel/nft"
	"eastwest/internal/kernel/nft/nfttest"
	"eastwest/internal/table"
)

// A second process that finds everything in place writes nothing, however pods are told from others.
func TestRestartRewritesNothing(t *testing.T) {
	prefixes := func(list ...string) (out []netip.Prefix) {
		for _, text := range list {
			out = append(out, netip.MustParsePrefix(text))
		}
		return out
	}
	for _, config := range []dataplane.Node{
		{},
		{Local: dataplane.Local{CIDRs: prefixes("10.244.0.0/16", "fd00:10::/48")}, ServiceCIDRs: dataplane.NewRanges(prefixes("10.96.0.0/12", "fd00:96::/108")...)},
		{Local: dataplane.Local{CIDRs: prefixes("10.244.0.0/16", "10.10.0.0/16")}, NodePortAddresses: prefixes("0.0.0.0/0", "127.0.0.0/8")},
		{Local: dataplane.Local{Bridge: "br0"}},
		{Local: dataplane.Local{InterfacePrefix: "veth"}},
	} {
		servers, rules := &ipvstest.Fake{}, &nfttest.Counting{Conn: nft.New(netnstest.New(t))}
		for start := range 2 {
			rules.Scripts, rules.Changes = 0, 0
			if err := withRules(t, servers, rules, config).Apply(t.Context(), tableOf(nginx(2)), table.Keys{All: true}); err != nil {
				t.Fatal(err)
			}
			if written := rules.Scripts + rules.Changes; (written == 0) != (start == 1) {
				t.Errorf("%+v: start %d ran %d scripts and %d changes", config, start, rules.Scripts, rules.Changes)
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

// What the kernel refuses of one service, here a range of the other family, keeps that service out and no other, and leaves no
// virtual server of it.
func TestRefusedByTheKernel(t *testing.T) {
	bad := nginx(1)
	bad.Object.Name, bad.Addresses = "bad", []netip.Addr{netip.MustParseAddr("10.96.0.8")}
	bad.Frontends = bad.Frontends[:1]
	bad.Frontends[0].Addr = bad.Addresses[0]
	bad.Frontends[0].SourceRanges = []netip.Prefix{netip.MustParsePrefix("fd00::/64")}
	ns := netnstest.New(t)
	for _, first := range []table.Table[table.Service]{tableOf(nginx(1)), tableOf(nginx(1), bad)} {
		servers := &ipvstest.Fake{}
		inner := withRules(t, servers, nft.New(ns), dataplane.Node{})
		var reported []string
		backend := quarantine.Around(inner, quarantine.Config{Prober: inner, Report: func(row table.Service, _ error) { reported = append(reported, row.Key()) }})
		changed := table.Keys{All: true}
		for _, want := range []table.Table[table.Service]{first, tableOf(nginx(1), bad)} {
			for try := 0; backend.Apply(t.Context(), want, changed) != nil; try++ {
				if try > 3 {
					t.Fatal("the good service is held up by the bad one")
				}
				changed.All = true
			}
			changed = table.Keys{Names: []string{"default/bad"}}
		}
		text, err := backend.Dump(t.Context())
		if err != nil || !strings.Contains(text, "default/nginx") || strings.Contains(text, "default/bad") {
			t.Errorf("%v, the kernel has:\n%s", err, text)
		}
		list, err := servers.Servers(t.Context())
		for _, s := range list {
			if s.Addr == bad.Addresses[0] {
				t.Errorf("there is a virtual server %s of the refused service", s.Key)
			}
		}
		if err != nil || len(reported) == 0 || reported[0] != "default/bad" {
			t.Errorf("%v, reported: %v", err, reported)
		}
		if err := backend.Remove(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// spelling lists rules as another version of nft might.
type spelling struct {
	*nfttest.Fake
	Scripts int
}

func (s *spelling) Run(ctx context.Context, script string) error {
	s.Scripts++
	return s.Fake.Run(ctx, script)
}

func (s *spelling) List(ctx context.Context, family nft.Family, name string) (string, error) {
	text, err := s.Fake.List(ctx, family, name)
	return strings.ReplaceAll(text, "0x00004000", "0x4000"), err
}

// Rules that nft lists otherwise than they were written are not written again and again.
func TestOtherSpellingsAreNoChange(t *testing.T) {
	rules := &spelling{Fake: &nfttest.Fake{}}
	backend := withRules(t, &ipvstest.Fake{}, rules, dataplane.Node{})
	for range 3 {
		if err := backend.Apply(t.Context(), tableOf(nginx(1)), table.Keys{All: true}); err != nil {
			t.Fatal(err)
		}
	}
	if rules.Scripts != 3 { // one a family
		t.Errorf("%d scripts ran, want 3", rules.Scripts)
	}
}
