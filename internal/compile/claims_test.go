// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"eastwest/internal/snapshot"
	"eastwest/internal/table"
)

// Two services that name one external address: the first by name has it, the other gets it when the first is gone, and
// nobody takes a virtual address by naming it.
func TestPlacesAreGivenOnce(t *testing.T) {
	store, compiler := snapshot.NewStore(), New(here)
	service := func(name, own string, external ...string) *snapshot.Service {
		return nginx(func(s *snapshot.Service) {
			s.Name, s.ClusterIPs = name, []netip.Addr{netip.MustParseAddr(own)}
			for _, a := range external {
				s.ExternalIPs = append(s.ExternalIPs, netip.MustParseAddr(a))
			}
		})
	}
	check := func(when string, want map[string]string) {
		t.Helper()
		tables, _ := compiler.Update(store.Take())
		have := map[string]string{}
		for key, row := range tables.Services.All() {
			have[key] = text(row)
		}
		if diff := cmp.Diff(want, have); diff != "" {
			t.Errorf("%s (-want +have):\n%s", when, diff)
		}
	}
	const own1, own2 = "ClusterIP 10.96.0.1:80/tcp reject outside\n", "ClusterIP 10.96.0.2:80/tcp reject outside\n"
	const shared = "ExternalIP 192.0.2.7:80/tcp reject always\n"
	store.PutService(service("b", "10.96.0.2", "192.0.2.7"))
	check("alone", map[string]string{"default/b": own2 + shared})
	store.PutService(service("a", "10.96.0.1", "192.0.2.7", "10.96.0.2"))
	check("contested", map[string]string{"default/a": own1 + shared, "default/b": own2})
	store.DeleteService("default/b")
	check("the owner of the virtual address is gone", map[string]string{"default/a": own1 + "ExternalIP 10.96.0.2:80/tcp reject always\n" + shared})
	store.PutService(service("b", "10.96.0.2", "192.0.2.7"))
	check("and back", map[string]string{"default/a": own1 + shared, "default/b": own2})
	store.DeleteService("default/a")
	check("the winner is gone", map[string]string{"default/b": own2 + shared})
}

// Load balancers are told how many ready endpoints the node has, however many ports these serve.
func TestHealthCheck(t *testing.T) {
	edit := func(s *snapshot.Service) {
		s.ExternalLocal, s.HealthCheckNodePort = true, 30999
		s.Ports = append(s.Ports, snapshot.Port{Name: "https", Protocol: table.TCP, Port: 443})
	}
	row, _ := Service(world(nginx(edit), "10.244.0.2 here ready", "10.244.0.3 here serving", "10.244.1.2 there ready"), here, "default/nginx")
	if row.HealthCheck != 30999 || row.LocalEndpoints != (table.Count{IPv4: 1}) {
		t.Errorf("health check %d, %v endpoints; want 30999, 1", row.HealthCheck, row.LocalEndpoints)
	}
	both := func(s *snapshot.Service) {
		edit(s)
		s.ClusterIPs = append(s.ClusterIPs, netip.MustParseAddr("fd00:96::7"))
	}
	row, _ = Service(world(nginx(both), "10.244.0.2 here ready", "fd00:10::2 here ready"), here, "default/nginx")
	if row.LocalEndpoints != (table.Count{IPv4: 1, IPv6: 1}) {
		t.Errorf("a pod of both families: %v endpoints", row.LocalEndpoints)
	}
	row, _ = Service(world(nginx(nil), "10.244.0.2 here ready"), here, "default/nginx")
	if row.HealthCheck != 0 {
		t.Errorf("health check %d without policy Local", row.HealthCheck)
	}
}

// Frontends name the endpoints that keep their connections although no new ones go to them: of UDP those that still answer, of TCP and SCTP all.
func TestDraining(t *testing.T) {
	for protocol, want := range map[table.Protocol][]netip.AddrPort{
		table.UDP:  addrPortsOf("10.244.0.3:8080"),
		table.TCP:  addrPortsOf("10.244.0.3:8080", "10.244.0.4:8080", "10.244.0.5:8080"),
		table.SCTP: addrPortsOf("10.244.0.3:8080", "10.244.0.4:8080", "10.244.0.5:8080"),
	} {
		edit := func(s *snapshot.Service) { s.Ports[0].Protocol = protocol }
		row, _ := Service(world(nginx(edit), "10.244.0.2 here ready", "10.244.0.3 here serving", "10.244.0.4 here gone", "10.244.0.5 here unready"), here, "default/nginx")
		if have := row.Frontends[0].Draining; !slices.Equal(have, want) {
			t.Errorf("%s: draining %v, want %v", protocol, have, want)
		}
		row, _ = Service(world(nginx(edit), "10.244.0.2 here ready", "10.244.0.3 here ready"), here, "default/nginx")
		if have := row.Frontends[0].Draining; have != nil {
			t.Errorf("%s: draining %v although all get new connections", protocol, have)
		}
	}
}

func addrPortsOf(list ...string) []netip.AddrPort {
	var out []netip.AddrPort
	for _, s := range list {
		out = append(out, netip.MustParseAddrPort(s))
	}
	return out
}

func TestMasqueradeAll(t *testing.T) {
	config := here
	config.MasqueradeAll = true
	row, _ := Service(world(nginx(nil), "10.244.0.2 here ready"), config, "default/nginx")
	if have := row.Frontends[0].Masquerade; have != table.Always {
		t.Errorf("masquerade %s, want always", have)
	}
}
