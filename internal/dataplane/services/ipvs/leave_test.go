// SPDX-License-Identifier: Apache-2.0

package ipvs_test

import (
	"maps"
	"net/netip"
	"testing"

	"eastwest/internal/dataplane"
	"eastwest/internal/kernel/ipvs"
	"eastwest/internal/kernel/ipvs/ipvstest"
	"eastwest/internal/kernel/nft/nfttest"
	"eastwest/internal/table"
)

// A destination that keeps its connections stays without getting new ones, across a restart as well; one that is gone is no longer there, and
// neither is the address of a Service that is gone.
func TestDestinationsLeave(t *testing.T) {
	servers, rules := &ipvstest.Fake{}, &nfttest.Fake{}
	backend := withRules(t, servers, rules, dataplane.Node{})
	vip := ipvs.Key{Addr: netip.MustParseAddr("10.96.0.7"), Port: 80, Protocol: uint8(table.TCP)}
	const first, second = "10.244.1.2:80", "10.244.1.3:80"
	all := true
	apply := func(rows ...table.Service) {
		t.Helper()
		if err := backend.Apply(t.Context(), tableOf(rows...), table.Keys{All: all, Names: []string{"default/nginx", "default/other"}}); err != nil {
			t.Fatal(err)
		}
		all = false
	}
	draining := func(row table.Service, endpoints ...string) table.Service {
		for _, e := range endpoints {
			row.Frontends[0].Draining = append(row.Frontends[0].Draining, netip.MustParseAddrPort(e))
		}
		return row
	}
	wants := func(when string, weights map[string]int) {
		t.Helper()
		have := map[string]int{}
		list, err := servers.Destinations(t.Context(), vip)
		for _, d := range list {
			have[d.Addr.String()] = d.Weight
		}
		if err != nil || !maps.Equal(have, weights) {
			t.Errorf("%s: destinations have weights %v, want %v; %v", when, have, weights, err)
		}
		addresses, err := servers.Device().Addresses(t.Context())
		if want := when != "the service is gone"; err != nil || addresses.On[vip.Addr] != want {
			t.Errorf("%s: the address is there: %v, want %v; %v", when, addresses.On[vip.Addr], want, err)
		}
	}
	apply(nginx(2))
	wants("served", map[string]int{first: 1, second: 1})
	apply(draining(nginx(0), first, second))
	wants("both terminate", map[string]int{first: 0, second: 0})
	apply(draining(nginx(1), second))
	wants("one is back", map[string]int{first: 1, second: 0})
	backend, all = withRules(t, servers, rules, dataplane.Node{}), true
	apply(draining(nginx(1), second))
	wants("after a restart", map[string]int{first: 1, second: 0})
	apply(nginx(1))
	wants("the other has ended", map[string]int{first: 1})
	apply(draining(nginx(0), first))
	wants("the last one terminates", map[string]int{first: 0})
	apply(nginx(0))
	wants("none is left", map[string]int{})
	apply(draining(nginx(1), second))
	apply()
	wants("the service is gone", map[string]int{})
	if text, err := backend.Dump(t.Context()); err != nil || text != "" {
		t.Errorf("something is left: %v\n%s", err, text)
	}
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
