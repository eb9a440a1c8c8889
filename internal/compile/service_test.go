// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"eastwest/internal/snapshot"
	"eastwest/internal/table"
)

var here = Config{
	NodeName:     "here",
	NodeIPs:      []netip.Addr{netip.MustParseAddr("172.18.0.2")},
	ClusterCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")},
	DNSService:   "kube-system/kube-dns",
	NameTTL:      5,
}

// ep is written as "address node condition [zone hints…]": ready, serving (terminating), gone (terminating, not serving),
// unready.
func ep(text string) snapshot.Endpoint {
	f := strings.Fields(text)
	e := snapshot.Endpoint{Addrs: []netip.Addr{netip.MustParseAddr(f[0])}, Node: f[1]}
	switch f[2] {
	case "ready":
		e.Ready, e.Serving = true, true
	case "serving":
		e.Serving, e.Terminating = true, true
	case "gone":
		e.Terminating = true
	}
	for _, hint := range f[3:] {
		if e.Hints == nil {
			e.Hints = &snapshot.Hints{}
		}
		if node, ok := strings.CutPrefix(hint, "node="); ok {
			e.Hints.Nodes = append(e.Hints.Nodes, node)
			continue
		}
		e.Hints.Zones = append(e.Hints.Zones, hint)
	}
	return e
}

func nginx(edit func(*snapshot.Service)) *snapshot.Service {
	s := &snapshot.Service{
		Namespace: "default", Name: "nginx", IPv4: true,
		ClusterIPs: []netip.Addr{netip.MustParseAddr("10.96.0.7")},
		Ports:      []snapshot.Port{{Name: "http", Protocol: table.TCP, Port: 80}},
	}
	if edit != nil {
		edit(s)
	}
	return s
}

func world(service *snapshot.Service, endpoints ...string) snapshot.Snapshot {
	store := snapshot.NewStore()
	store.PutService(service)
	store.PutNode(&snapshot.Node{Name: "here", Zone: "z1"})
	slice := &snapshot.Slice{Namespace: service.Namespace, Name: service.Name + "-1", Service: service.Name}
	for _, p := range service.Ports {
		slice.Ports = append(slice.Ports, snapshot.SlicePort{Name: p.Name, Protocol: p.Protocol, Port: 8080})
	}
	six := *slice
	six.Name, six.IPv6 = service.Name+"-2", true
	for _, e := range endpoints {
		if endpoint := ep(e); endpoint.Addrs[0].Is6() {
			six.Endpoints = append(six.Endpoints, endpoint)
		} else {
			slice.Endpoints = append(slice.Endpoints, endpoint)
		}
	}
	store.PutSlice(slice)
	if len(six.Endpoints) > 0 {
		store.PutSlice(&six)
	}
	now, _ := store.Take()
	return now
}

// text prints a row the way `show` does, without its name.
func text(s table.Service) string {
	var out strings.Builder
	for _, c := range s.Columns() {
		fmt.Fprintln(&out, strings.TrimSpace(strings.Join(c[1:], " ")))
	}
	return out.String()
}

// serviceTest is a Service with its endpoints, and the rows that it compiles to.
type serviceTest struct {
	name      string
	edit      func(*snapshot.Service)
	endpoints []string
	want      string
}

func (tt serviceTest) run(t *testing.T) {
	row, ok := Service(world(nginx(tt.edit), tt.endpoints...), here, "default/nginx")
	if !ok {
		t.Fatal("no row")
	}
	if diff := cmp.Diff(tt.want, text(row)); diff != "" {
		t.Errorf("row (-want +have):\n%s", diff)
	}
}

func TestService(t *testing.T) {
	for _, tt := range []serviceTest{
		{"plain", nil, []string{"10.244.1.2 there ready", "10.244.0.2 here ready", "10.244.0.3 here unready"},
			"ClusterIP 10.96.0.7:80/tcp forward outside 10.244.0.2:8080,10.244.1.2:8080\n"},
		{"the same endpoint twice", nil, []string{"10.244.0.2 here ready", "10.244.0.2 here ready"},
			"ClusterIP 10.96.0.7:80/tcp forward outside 10.244.0.2:8080\n"},
		{"nothing ready", nil, []string{"10.244.0.3 here unready", "10.244.0.4 here gone"},
			"ClusterIP 10.96.0.7:80/tcp reject outside\n"},
		{"serving while terminating, when nothing else is left", nil, []string{"10.244.0.2 here serving", "10.244.0.4 here gone"},
			"ClusterIP 10.96.0.7:80/tcp forward outside 10.244.0.2:8080\n"},
		{"serving while terminating, beside a ready one", nil, []string{"10.244.0.2 here serving", "10.244.1.2 there ready"},
			"ClusterIP 10.96.0.7:80/tcp forward outside 10.244.1.2:8080\n"},
		{"node port", func(s *snapshot.Service) { s.Ports[0].NodePort = 31000 }, []string{"10.244.1.2 there ready"},
			"ClusterIP 10.96.0.7:80/tcp forward outside 10.244.1.2:8080\nNodePort 31000/tcp forward always 10.244.1.2:8080\n"},
		{"zone hints", nil, []string{"10.244.0.2 here ready z1", "10.244.1.2 there ready z2", "10.244.1.3 there ready z1 z2"},
			"ClusterIP 10.96.0.7:80/tcp forward outside 10.244.0.2:8080,10.244.1.3:8080\n"},
		{"zone hints, one missing", nil, []string{"10.244.0.2 here ready z1", "10.244.1.2 there ready"},
			"ClusterIP 10.96.0.7:80/tcp forward outside 10.244.0.2:8080,10.244.1.2:8080\n"},
		{"zone hints, none for here", nil, []string{"10.244.1.2 there ready z2"},
			"ClusterIP 10.96.0.7:80/tcp forward outside 10.244.1.2:8080\n"},
		{"node hints before zone hints", nil, []string{"10.244.0.2 here ready z1 node=here", "10.244.1.2 there ready z1 node=there"},
			"ClusterIP 10.96.0.7:80/tcp forward outside 10.244.0.2:8080\n"},
		{"external and load balancer addresses", func(s *snapshot.Service) {
			s.ExternalIPs = []netip.Addr{netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("192.0.2.8")}
			s.LoadBalancerIPs = s.ExternalIPs[:1]
		}, []string{"10.244.0.2 here ready"},
			"ClusterIP 10.96.0.7:80/tcp forward outside 10.244.0.2:8080\n" +
				"ExternalIP 192.0.2.7:80/tcp forward always 10.244.0.2:8080\n" +
				"ExternalIP 192.0.2.8:80/tcp forward always 10.244.0.2:8080\n"},
		{"session affinity", func(s *snapshot.Service) { s.AffinitySeconds = 600 }, []string{"10.244.0.2 here ready"},
			"ClusterIP 10.96.0.7:80/tcp sticky 600s forward outside 10.244.0.2:8080\n"},
	} {
		t.Run(tt.name, tt.run)
	}
}

func TestServicePolicies(t *testing.T) {
	local := func(s *snapshot.Service) {
		s.ExternalLocal = true
		s.Ports[0].NodePort = 31000
	}
	for _, tt := range []serviceTest{
		{"external policy Local", local, []string{"10.244.0.2 here ready", "10.244.1.2 there ready"},
			"ClusterIP 10.96.0.7:80/tcp forward outside 10.244.0.2:8080,10.244.1.2:8080\n" +
				"NodePort 31000/tcp forward outside 10.244.0.2:8080,10.244.1.2:8080\n" +
				"NodePort 31000/tcp from outside forward never 10.244.0.2:8080\n"},
		{"external policy Local, only a terminating one here", local, []string{"10.244.0.2 here serving", "10.244.1.2 there ready"},
			"ClusterIP 10.96.0.7:80/tcp forward outside 10.244.1.2:8080\n" +
				"NodePort 31000/tcp forward outside 10.244.1.2:8080\n" +
				"NodePort 31000/tcp from outside forward never 10.244.0.2:8080\n"},
		{"external policy Local, none here", local, []string{"10.244.1.2 there ready"},
			"ClusterIP 10.96.0.7:80/tcp forward outside 10.244.1.2:8080\n" +
				"NodePort 31000/tcp forward outside 10.244.1.2:8080\n" +
				"NodePort 31000/tcp from outside drop never\n"},
		{"external policy Local, none anywhere", local, nil,
			"ClusterIP 10.96.0.7:80/tcp reject outside\nNodePort 31000/tcp reject outside\nNodePort 31000/tcp from outside reject never\n"},
		{"internal policy Local", func(s *snapshot.Service) { s.InternalLocal = true }, []string{"10.244.0.2 here ready", "10.244.1.2 there ready"},
			"ClusterIP 10.96.0.7:80/tcp forward outside 10.244.0.2:8080\n"},
		{"internal policy Local, none here", func(s *snapshot.Service) { s.InternalLocal = true }, []string{"10.244.1.2 there ready"},
			"ClusterIP 10.96.0.7:80/tcp drop outside\n"},
	} {
		t.Run(tt.name, tt.run)
	}
}

func TestServicesWithoutRow(t *testing.T) {
	for name, edit := range map[string]func(*snapshot.Service){
		"headless":       func(s *snapshot.Service) { s.Headless, s.ClusterIPs = true, nil },
		"external name":  func(s *snapshot.Service) { s.ExternalName, s.ClusterIPs = "example.com", nil },
		"no address yet": func(s *snapshot.Service) { s.ClusterIPs = nil },
	} {
		if row, ok := Service(world(nginx(edit)), here, "default/nginx"); ok {
			t.Errorf("%s: row %+v", name, row)
		}
	}
}

// Of a Service that another proxy serves nothing is carried, and its addresses are left alone.
func TestServiceOfAnotherProxy(t *testing.T) {
	row, ok := Service(world(nginx(func(s *snapshot.Service) { s.Unproxied = true }), "10.244.0.2 here ready"), here, "default/nginx")
	if !ok || len(row.Frontends)+len(row.Addresses)+len(row.Hairpin) > 0 || !slices.Equal(row.Elsewhere, []netip.Addr{netip.MustParseAddr("10.96.0.7")}) {
		t.Errorf("row %+v, %v", row, ok)
	}
	if row, ok := Service(world(nginx(func(s *snapshot.Service) { s.Unproxied, s.Headless, s.ClusterIPs = true, true, nil })), here, "default/nginx"); ok {
		t.Errorf("headless: row %+v", row)
	}
}

// The DNS service is taken by this node's own socket; while there is none, other nodes' agents serve.
func TestDNSServiceIsLocal(t *testing.T) {
	dns := nginx(func(s *snapshot.Service) {
		s.Namespace, s.Name = "kube-system", "kube-dns"
		s.Ports = []snapshot.Port{{Name: "dns", Protocol: table.UDP, Port: 53}, {Name: "metrics", Protocol: table.TCP, Port: 9153}}
	})
	row, _ := Service(world(dns, "172.18.0.2 here ready", "172.18.0.3 there ready"), here, "kube-system/kube-dns")
	want := "ClusterIP 10.96.0.7:9153/tcp forward outside 172.18.0.2:8080,172.18.0.3:8080\n" +
		"ClusterIP 10.96.0.7:53/udp local socket first forward outside 172.18.0.3:8080\n"
	if diff := cmp.Diff(want, text(row)); diff != "" {
		t.Errorf("row (-want +have):\n%s", diff)
	}
}

func TestNames(t *testing.T) {
	headless := nginx(func(s *snapshot.Service) { s.Headless, s.ClusterIPs = true, nil })
	row, ok := Name(world(headless, "10.244.1.2 there ready", "10.244.0.3 here unready", "10.244.0.2 here ready"), here, "default/nginx")
	if !ok || len(row.Endpoints) != 2 || row.Endpoints[0].Addr != netip.MustParseAddr("10.244.0.2") || row.TTL != 5 {
		t.Errorf("headless: %+v, %v", row, ok)
	}
	external := nginx(func(s *snapshot.Service) { s.ExternalName, s.ClusterIPs = "example.com", nil })
	if row, ok := Name(world(external), here, "default/nginx"); !ok || row.ExternalName != "example.com" {
		t.Errorf("external name: %+v, %v", row, ok)
	}
}

func TestRoutesAndEgress(t *testing.T) {
	store := snapshot.NewStore()
	for i, name := range []string{"here", "there", "new"} {
		n := &snapshot.Node{Name: name, Addrs: []netip.Addr{netip.AddrFrom4([4]byte{172, 18, 0, byte(2 + i)})}}
		if name != "new" {
			n.PodCIDRs = []netip.Prefix{netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 244, byte(i), 0}), 24)}
		}
		store.PutNode(n)
	}
	store.SetServiceCIDRs([]netip.Prefix{netip.MustParsePrefix("10.96.0.0/12")})
	now, changes := store.Take()
	tables, keys := New(here).Update(now, changes)
	if diff := cmp.Diff([]string{"10.244.1.0/24"}, tables.Routes.Keys()); diff != "" || len(keys.Routes.Names) != 1 {
		t.Errorf("routes: %v\n%s", keys.Routes, diff)
	}
	egress, _ := tables.Egress.Get("here")
	want := [][]string{{"here", "10.244.0.0/24", "10.96.0.0/12,10.244.0.0/16,172.18.0.2/32,172.18.0.3/32,172.18.0.4/32"}}
	if diff := cmp.Diff(want, egress.Columns()); diff != "" {
		t.Error(diff)
	}
}

// Where the node is let in, its own packets to the load balancer's address are, also when it has that address itself.
func TestBalancerOnAnInterfaceOfTheNode(t *testing.T) {
	for ranges, want := range map[string]string{
		"172.18.0.0/16": "172.18.0.0/16 198.51.100.7/32", "203.0.113.0/24": "203.0.113.0/24",
		"0.0.0.0/0": "0.0.0.0/0", "fd00::/64": "", "172.18.0.2/32 198.51.100.0/24": "172.18.0.2/32 198.51.100.0/24",
	} {
		row, _ := Service(world(nginx(func(s *snapshot.Service) {
			s.LoadBalancerIPs = []netip.Addr{netip.MustParseAddr("198.51.100.7")}
			for _, text := range strings.Fields(ranges) {
				s.SourceRanges = append(s.SourceRanges, netip.MustParsePrefix(text))
			}
		}), "10.244.0.2 here ready"), here, "default/nginx")
		for _, f := range row.Frontends {
			if got := strings.Trim(fmt.Sprint(f.SourceRanges), "[]"); f.Kind == table.LoadBalancer && got != want {
				t.Errorf("ranges %s: got %s, want %s", ranges, got, want)
			}
		}
	}
}

// A source range within another one is not there twice: no backend has to know what overlaps.
func TestSourceRangesWithinOthers(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"10.0.0.0/8 10.1.0.0/16", "10.0.0.0/8"},
		{"10.1.0.0/16 10.0.0.0/8 10.1.2.0/24 192.0.2.0/24", "10.0.0.0/8 192.0.2.0/24"},
		{"192.0.2.0/24 0.0.0.0/0", "0.0.0.0/0"},
		{"10.9.9.9/8 10.1.0.0/16 10.1.0.0/16", "10.0.0.0/8"},
		{"10.0.0.0/9 10.128.0.0/9", "10.0.0.0/9 10.128.0.0/9"},
	} {
		var in []netip.Prefix
		for _, text := range strings.Fields(c.in) {
			in = append(in, netip.MustParsePrefix(text))
		}
		if got := strings.Trim(fmt.Sprint(rangesOf(in, false)), "[]"); got != c.want {
			t.Errorf("ranges %s: got %s, want %s", c.in, got, c.want)
		}
	}
}

// A slice that its label keeps from proxies has names and no traffic.
func TestSliceThatIsNotProxied(t *testing.T) {
	store := snapshot.NewStore()
	store.PutService(nginx(nil))
	for i, unproxied := range []bool{false, true} {
		store.PutSlice(&snapshot.Slice{
			Namespace: "default", Name: fmt.Sprint("nginx-", i), Service: "nginx", Unproxied: unproxied,
			Ports:     []snapshot.SlicePort{{Name: "http", Protocol: table.TCP, Port: 8080}},
			Endpoints: []snapshot.Endpoint{ep(fmt.Sprintf("10.244.1.%d there ready", i+2))},
		})
	}
	now, _ := store.Take()
	row, _ := Service(now, here, "default/nginx")
	if have, want := text(row), "ClusterIP 10.96.0.7:80/tcp forward outside 10.244.1.2:8080\n"; have != want {
		t.Errorf("row %q, want %q", have, want)
	}
	if name, _ := Name(now, here, "default/nginx"); len(name.Endpoints) != 2 {
		t.Errorf("names of %+v, want two endpoints", name.Endpoints)
	}
}
