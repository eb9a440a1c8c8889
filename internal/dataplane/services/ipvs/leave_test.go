// SPDX-License-Identifier: Apache-2.0

package ipvs_test

import (
	"net/netip"
	"testing"

	"eastwest/internal/dataplane"
	"eastwest/internal/kernel/ipvs"
	"eastwest/internal/kernel/ipvs/ipvstest"
	"eastwest/internal/kernel/nft/nfttest"
	"eastwest/internal/table"
)

// A destination with connections stays without getting new ones, across a restart as well, until these have ended; so does
// the address of a service that is gone.
func TestDestinationsLeaveWhenTheirConnectionsEnd(t *testing.T) {
	busy := map[netip.AddrPort]int{netip.MustParseAddrPort("10.244.1.2:80"): 1}
	servers, rules := &ipvstest.Fake{Connections: func(addr netip.AddrPort) int { return busy[addr] }}, &nfttest.Fake{}
	backend := withRules(t, servers, rules, dataplane.Node{})
	vip := ipvs.Key{Addr: netip.MustParseAddr("10.96.0.7"), Port: 80, Protocol: uint8(table.TCP)}
	apply := func(all bool, rows ...table.Service) {
		t.Helper()
		if err := backend.Apply(t.Context(), tableOf(rows...), table.Keys{All: all, Names: []string{"default/nginx", "default/other"}}); err != nil {
			t.Fatal(err)
		}
	}
	wants := func(when string, weights map[string]int) {
		t.Helper()
		list, err := servers.Destinations(t.Context(), vip)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range list {
			if weight, ok := weights[d.Addr.String()]; !ok || weight != d.Weight {
				t.Errorf("%s: %s has weight %d, want %v", when, d.Addr, d.Weight, weights)
			}
		}
		if len(list) != len(weights) {
			t.Errorf("%s: destinations %v, want %v", when, list, weights)
		}
	}
	there := func(when string, want bool) {
		t.Helper()
		addresses, err := servers.Device().Addresses(t.Context())
		if err != nil || addresses.On[vip.Addr] != want {
			t.Errorf("%s: the address is there: %v, want %v; %v", when, addresses.On[vip.Addr], want, err)
		}
	}
	const first, second = "10.244.1.2:80", "10.244.1.3:80"
	apply(true, nginx(2))
	wants("served", map[string]int{first: 1, second: 1})
	apply(false, nginx(0))
	wants("no endpoint is left", map[string]int{first: 0})
	apply(false, nginx(1))
	wants("one is back", map[string]int{first: 1})
	apply(false)
	wants("the service is gone", map[string]int{first: 0})
	there("the service is gone", true)
	if text, err := backend.Dump(t.Context()); err != nil || text != "" {
		t.Errorf("what leaves is still a service: %v\n%s", err, text)
	}
	backend = withRules(t, servers, rules, dataplane.Node{})
	apply(true)
	wants("after a restart", map[string]int{first: 0})
	there("after a restart", true)
	clear(busy)
	apply(false)
	wants("its connections have ended", map[string]int{})
	there("its connections have ended", false)
}

// What somebody else emptied is written again, and virtual servers of others are left alone.
func TestOthersServersAreLeftAlone(t *testing.T) {
	servers, rules := &ipvstest.Fake{}, &nfttest.Fake{}
	foreign := ipvs.Server{Key: ipvs.Key{Addr: netip.MustParseAddr("172.18.0.2"), Port: 443, Protocol: uint8(table.TCP)}, Scheduler: "wlc"}
	if err := servers.Add(t.Context(), foreign); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		backend := withRules(t, servers, rules, dataplane.Node{})
		if err := backend.Apply(t.Context(), tableOf(nginx(1)), table.Keys{All: true}); err != nil {
			t.Fatal(err)
		}
		if err := backend.Apply(t.Context(), tableOf(), table.Keys{All: true}); err != nil {
			t.Fatal(err)
		}
		if err := backend.Remove(t.Context()); err != nil {
			t.Fatal(err)
		}
		list, err := servers.Servers(t.Context())
		if err != nil || len(list) != 1 || list[0] != foreign {
			t.Errorf("virtual servers %v, %v; want only %v", list, err, foreign)
		}
	}
}
