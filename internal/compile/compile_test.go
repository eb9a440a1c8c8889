// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"fmt"
	"maps"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"eastwest/internal/snapshot"
	"eastwest/internal/table"
)

// Compiling change by change gives the tables that compiling everything at once gives, and the keys name exactly the
// rows that differ.
func TestUpdatesEqualCompilingAtOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		store, steps := snapshot.NewStore(), New(here)
		var before Tables
		for range rapid.IntRange(1, 15).Draw(t, "steps") {
			for range rapid.IntRange(1, 3).Draw(t, "changes") {
				mutate(t, store)
			}
			now, changes := store.Take()
			have, keys := steps.Update(now, changes)
			everything := snapshot.Changes{Services: now.Services.Keys(), Nodes: now.Nodes.Keys()}
			want, _ := New(here).Update(now, everything)
			equal(t, "services", want.Services, have.Services)
			equal(t, "names", want.Names, have.Names)
			equal(t, "routes", want.Routes, have.Routes)
			equal(t, "egress", want.Egress, have.Egress)
			exact(t, before.Services, have.Services, keys.Services)
			before = have
		}
	})
}

func mutate(t *rapid.T, store *snapshot.Store) {
	name := fmt.Sprint("s", rapid.IntRange(0, 3).Draw(t, "service"))
	switch rapid.IntRange(0, 6).Draw(t, "kind") {
	case 0:
		store.DeleteService("default/" + name)
	case 1:
		store.PutService(nginx(func(s *snapshot.Service) {
			s.Name, s.ExternalLocal = name, rapid.Bool().Draw(t, "local")
			s.Ports[0].NodePort = uint16(rapid.IntRange(0, 1).Draw(t, "port")) * 31000
		}))
	case 2, 3:
		slice := &snapshot.Slice{
			Namespace: "default", Name: fmt.Sprint("e", rapid.IntRange(0, 3).Draw(t, "slice")), Service: name,
			Ports: []snapshot.SlicePort{{Name: "http", Protocol: table.TCP, Port: 8080}},
		}
		for i := range rapid.IntRange(0, 4).Draw(t, "endpoints") {
			condition := rapid.SampledFrom([]string{"ready", "serving", "unready", "ready z1"}).Draw(t, "condition")
			node := rapid.SampledFrom([]string{"here", "there"}).Draw(t, "node")
			slice.Endpoints = append(slice.Endpoints, ep(fmt.Sprintf("10.244.0.%d %s %s", i+1, node, condition)))
		}
		store.PutSlice(slice)
	case 4:
		store.DeleteSlice(fmt.Sprint("default/e", rapid.IntRange(0, 3).Draw(t, "slice")))
	case 5:
		mutateNode(t, store)
	case 6:
		ranges := []netip.Prefix{netip.MustParsePrefix("10.96.0.0/12"), netip.MustParsePrefix("10.200.0.0/16")}
		store.SetServiceCIDRs(ranges[:rapid.IntRange(0, 2).Draw(t, "ranges")])
	}
}

func mutateNode(t *rapid.T, store *snapshot.Store) {
	name := rapid.SampledFrom([]string{"here", "there"}).Draw(t, "node")
	if rapid.Bool().Draw(t, "delete") {
		store.DeleteNode(name)
		return
	}
	store.PutNode(&snapshot.Node{
		Name: name, Zone: rapid.SampledFrom([]string{"", "z1"}).Draw(t, "zone"),
		Addrs:    []netip.Addr{netip.MustParseAddr("172.18.0.9")},
		PodCIDRs: []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 244, byte(len(name)), 0}), 24)},
	})
}

func equal[R any](t *rapid.T, what string, want, have table.Table[R]) {
	same := cmp.Options{
		cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
		cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
	}
	if diff := cmp.Diff(maps.Collect(want.All()), maps.Collect(have.All()), same); diff != "" {
		t.Fatalf("%s (-at once +step by step):\n%s", what, diff)
	}
}

func exact(t *rapid.T, before, after table.Table[table.Service], keys table.Keys) {
	named := map[string]bool{}
	for _, key := range keys.Names {
		named[key] = true
	}
	for _, key := range append(before.Keys(), after.Keys()...) {
		old, had := before.Get(key)
		row, has := after.Get(key)
		if differs := had != has || text(old) != text(row); differs && !named[key] {
			t.Fatalf("row %s changed but is not among the keys %v", key, keys.Names)
		}
	}
}
