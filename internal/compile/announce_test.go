// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"eastwest/internal/compile"
	"eastwest/internal/snapshot"
)

// balancers is a cluster of nodes n0… of which each compiles for itself, as agents do.
type balancers struct {
	t         *testing.T
	store     *snapshot.Store
	compilers map[string]*compile.Compiler
}

func newBalancers(t *testing.T, nodes, services int) *balancers {
	b := &balancers{t: t, store: snapshot.NewStore(), compilers: map[string]*compile.Compiler{}}
	for i := range nodes {
		name := fmt.Sprint("n", i)
		b.compilers[name] = compile.New(compile.Config{NodeName: name})
		b.store.PutNode(&snapshot.Node{Name: name, Ready: true})
	}
	for i := range services {
		b.store.PutService(service(i, true))
	}
	return b
}

func service(i int, announced bool) *snapshot.Service {
	return &snapshot.Service{
		Namespace: "default", Name: fmt.Sprint("web", i), Announced: announced, IPv4: true,
		LoadBalancerIPs: []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})},
	}
}

// announcers returns which node announces which service; it fails when two do.
func (b *balancers) announcers() map[string]string {
	b.t.Helper()
	out := map[string]string{}
	now, changes := b.store.Take()
	for node, c := range b.compilers {
		tables, _ := c.Update(now, changes)
		for key, row := range tables.Announcements.All() {
			if other, taken := out[key]; taken {
				b.t.Errorf("%s and %s announce %s", node, other, key)
			}
			if len(row.Addrs) != 1 {
				b.t.Errorf("%s announces %v for %s", node, row.Addrs, key)
			}
			out[key] = node
		}
	}
	return out
}

func TestOneNodeAnnouncesEachLoadBalancer(t *testing.T) {
	const services = 60
	b := newBalancers(t, 3, services)
	first := b.announcers()
	count := map[string]int{}
	for _, node := range first {
		count[node]++
	}
	if len(first) != services || count["n0"] < 10 || count["n1"] < 10 || count["n2"] < 10 {
		t.Fatalf("%d of %d are announced, by %v", len(first), services, count)
	}
	for what, node := range map[string]*snapshot.Node{
		"not ready": {Name: "n1"}, "excluded": {Name: "n1", Ready: true, Excluded: true}, "leaving": {Name: "n1", Ready: true, Leaving: true},
	} {
		b.store.PutNode(node)
		now := b.announcers()
		for key, before := range first {
			switch {
			case now[key] == "" || now[key] == "n1":
				t.Errorf("%s: %s is announced by %q", what, key, now[key])
			case before != "n1" && now[key] != before:
				t.Errorf("%s: %s moved from %s to %s", what, key, before, now[key])
			}
		}
		b.store.PutNode(&snapshot.Node{Name: "n1", Ready: true})
		if again := b.announcers(); fmt.Sprint(again) != fmt.Sprint(first) {
			t.Errorf("%s and back: %v, was %v", what, again, first)
		}
	}
}

func TestOnlyAddressesOfThePoolAreAnnounced(t *testing.T) {
	b := newBalancers(t, 2, 3)
	b.store.PutService(service(0, false))
	b.store.DeleteService("default/web1")
	now := b.announcers()
	if len(now) != 1 || now["default/web2"] == "" {
		t.Errorf("announced: %v, want default/web2 alone", now)
	}
	b.store.DeleteService("default/web2")
	if now := b.announcers(); len(now) != 0 {
		t.Errorf("announced: %v, want nothing", now)
	}
}

func TestLocalLoadBalancersAreWhereTheirEndpointsAre(t *testing.T) {
	b := newBalancers(t, 3, 0)
	local := service(1, true)
	local.ExternalLocal = true
	b.store.PutService(local)
	if now := b.announcers(); len(now) != 0 {
		t.Errorf("without endpoints, %v announces", now)
	}
	for _, node := range []string{"n2", "n0", "n1"} {
		b.store.PutSlice(&snapshot.Slice{Namespace: "default", Name: "web1-x", Service: "web1", Endpoints: []snapshot.Endpoint{
			{Node: node, Ready: true, Serving: true, Addrs: []netip.Addr{netip.MustParseAddr("10.244.0.2")}},
			{Node: "n9", Addrs: []netip.Addr{netip.MustParseAddr("10.244.0.3")}},
		}})
		if now := b.announcers(); !slices.Equal([]string{now["default/web1"]}, []string{node}) {
			t.Errorf("with an endpoint on %s, %v announces", node, now)
		}
	}
}
