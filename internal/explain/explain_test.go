// SPDX-License-Identifier: Apache-2.0

package explain_test

import (
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"eastwest/internal/dataplane"
	"eastwest/internal/dataplane/services/iptables"
	"eastwest/internal/dataplane/services/ipvs"
	"eastwest/internal/dataplane/services/nftables"
	"eastwest/internal/explain"
	"eastwest/internal/kernel/forward"
	iptableskernel "eastwest/internal/kernel/iptables"
	ipvskernel "eastwest/internal/kernel/ipvs"
	"eastwest/internal/kernel/ipvs/ipvstest"
	"eastwest/internal/kernel/link"
	"eastwest/internal/kernel/netns"
	"eastwest/internal/kernel/netns/netnstest"
	"eastwest/internal/kernel/nft"
	"eastwest/internal/kernel/sysctl"
	"eastwest/internal/table"
)

// The node of these tests: 172.18.0.3 on eth0, pods 10.244.1.2 and 10.244.1.3, routes to 10.244.2.0/24 and, only by
// default, to everything else.
const (
	podA, podB   = "10.244.1.2", "10.244.1.3"
	remote, lost = "10.244.2.4", "10.244.3.5"
	serviceIP    = "10.96.0.20"
)

type node struct {
	t         *testing.T
	path      string // of its namespace
	dir       string // of its pods' namespaces
	handle    *link.Handle
	backend   dataplane.Dataplane[table.Service]
	servers   *ipvstest.Fake
	explainer *explain.Explainer
}

// backends make a backend of a node's services; the kernel's part of IPVS is in memory, for many kernels lack it.
var backends = map[string]func(n *node, on dataplane.Node) (dataplane.Dataplane[table.Service], error){
	"nftables": func(n *node, on dataplane.Node) (dataplane.Dataplane[table.Service], error) {
		return nftables.New(nftables.Config{Kernel: nft.New(n.path), Log: slog.New(slog.DiscardHandler), Node: on})
	},
	"iptables": func(n *node, on dataplane.Node) (dataplane.Dataplane[table.Service], error) {
		netnstest.RequireProgram(n.t, "iptables-restore")
		return iptables.New(iptables.Config{Kernel: iptableskernel.New(n.path), Log: slog.New(slog.DiscardHandler), Node: on})
	},
	"ipvs": func(n *node, on dataplane.Node) (dataplane.Dataplane[table.Service], error) {
		return ipvs.New(ipvs.Config{
			Servers: n.servers, Device: ipvskernel.NewDevice(n.path), Rules: nft.New(n.path), Log: slog.New(slog.DiscardHandler),
			Node: on,
		})
	},
}

// onEach runs a test on a node of each backend.
func onEach(t *testing.T, test func(t *testing.T, n *node)) {
	for name := range backends {
		t.Run(name, func(t *testing.T) { test(t, newNode(t, name)) })
	}
}

func newNode(t *testing.T, backend string) *node {
	n := &node{t: t, path: netnstest.New(t), dir: t.TempDir(), servers: &ipvstest.Fake{}}
	handle, err := link.OpenAt(n.path)
	check(t, err)
	t.Cleanup(handle.Close)
	n.handle = handle
	netnstest.In(t, n.path, func() error { return sysctl.Set("net/ipv4/ip_forward", "1") })
	lo, err := handle.LinkByName("lo")
	check(t, err)
	check(t, handle.LinkSetUp(lo))
	n.veth("eth0", filepath.Join(n.dir, "outside"), "172.18.0.3/16")
	n.pod("vetha", "cni-a", podA)
	n.pod("vethb", "cni-b", podB)
	n.route("10.244.2.0/24", "172.18.0.4")
	n.route("0.0.0.0/0", "172.18.0.1")
	n.backend, err = backends[backend](n, dataplane.Node{
		Local:        dataplane.Local{CIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")}},
		ServiceCIDRs: dataplane.NewRanges(netip.MustParsePrefix("10.96.0.0/12")),
	})
	check(t, err)
	kernel, err := forward.Open(n.path, n.dir)
	check(t, err)
	t.Cleanup(kernel.Close)
	n.explainer = explain.New(kernel, explain.Sources{Rules: nft.New(n.path), Servers: n.servers, Chains: iptableskernel.New(n.path)})
	return n
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// veth joins the node to a new namespace, where the other end is called eth0.
func (n *node) veth(name, peer, address string) netlink.Link {
	check(n.t, netns.Create(peer))
	n.t.Cleanup(func() { netns.Remove(peer) })
	f, err := os.Open(peer)
	check(n.t, err)
	defer f.Close()
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: "eth0", PeerNamespace: netlink.NsFd(f.Fd())}
	check(n.t, n.handle.LinkAdd(veth))
	made, err := n.handle.LinkByName(name)
	check(n.t, err)
	if address != "" {
		addr, err := netlink.ParseAddr(address)
		check(n.t, err)
		check(n.t, n.handle.AddrAdd(made, addr))
	}
	other, err := link.OpenIn(f)
	check(n.t, err)
	defer other.Close()
	end, err := other.LinkByName("eth0")
	check(n.t, err)
	check(n.t, other.LinkSetUp(end))
	check(n.t, n.handle.LinkSetUp(made))
	return made
}

func (n *node) pod(device, name, address string) {
	made := n.veth(device, filepath.Join(n.dir, name), "10.244.1.1/32")
	dst := &net.IPNet{IP: net.ParseIP(address), Mask: net.CIDRMask(32, 32)}
	check(n.t, n.handle.RouteReplace(&netlink.Route{LinkIndex: made.Attrs().Index, Dst: dst, Scope: netlink.SCOPE_HOST}))
}

func (n *node) route(destination, via string) {
	_, dst, err := net.ParseCIDR(destination)
	check(n.t, err)
	check(n.t, n.handle.RouteReplace(&netlink.Route{Dst: dst, Gw: net.ParseIP(via)}))
}

func (n *node) apply(services ...table.Service) {
	n.t.Helper()
	rows := map[string]table.Service{}
	for _, s := range services {
		rows[s.Object.Namespace+"/"+s.Object.Name] = s
	}
	check(n.t, n.backend.Apply(n.t.Context(), table.Table[table.Service]{}.With(rows), table.Keys{All: true}))
}

func (n *node) explain(from, to string) *explain.Path {
	n.t.Helper()
	question, err := explain.Parse(from, to)
	check(n.t, err)
	path, err := n.explainer.Explain(n.t.Context(), question)
	check(n.t, err)
	return path
}

// nginx is a Service with a virtual IP and a node port.
func nginx(endpoints ...string) table.Service {
	s := table.Service{
		Object:    table.Object{Kind: "Service", Namespace: "default", Name: "nginx"},
		Addresses: []netip.Addr{netip.MustParseAddr(serviceIP)},
	}
	f := table.Frontend{
		Addr: s.Addresses[0], Protocol: table.TCP, Port: 30050, PortName: "http", Masquerade: table.FromOutside, Action: table.Reject,
	}
	for _, endpoint := range endpoints {
		f.Action = table.Forward
		f.Endpoints = append(f.Endpoints, netip.MustParseAddrPort(endpoint+":80"))
	}
	port := f
	port.Kind, port.Addr, port.Port, port.Masquerade = table.NodePort, netip.IPv4Unspecified(), 31000, table.Always
	s.Frontends = []table.Frontend{f, port}
	return s
}

func TestWayFromPodToService(t *testing.T) { onEach(t, wayFromPodToService) }

func wayFromPodToService(t *testing.T, n *node) {
	n.apply(nginx(podB, remote))
	path := n.explain(podA, serviceIP+":30050/tcp")
	if len(path.Problems) > 0 || len(path.Targets) != 2 || path.Service == nil {
		t.Fatalf("path:\n%s", path)
	}
	if path.From.Kind != explain.FromPod || path.From.Link.Name != "vetha" || path.From.Link.Peer.Name != "eth0" ||
		path.From.Link.Peer.Netns != filepath.Join(n.dir, "cni-a") {
		t.Errorf("from %+v %+v", path.From, path.From.Link.Peer)
	}
	if s := path.Service; s.Label != "default/nginx:http" || s.Action != "forward" || s.Endpoints != 2 {
		t.Errorf("service %s", s)
	}
	local, away := path.Targets[0], path.Targets[1]
	if local.Address != podB+":80" || local.Device != "vethb" || local.Link == nil || local.Route != podB+"/32" {
		t.Errorf("endpoint of this node: %+v", local)
	}
	if away.Address != remote+":80" || away.Device != "eth0" || away.Via != "172.18.0.4" || away.Route != "10.244.2.0/24" {
		t.Errorf("endpoint of another node: %+v", away)
	}
	text := path.String()
	for _, part := range []string{"pod 10.244.1.2", "veth vetha", "in cni-a", "via 172.18.0.4 dev eth0", "default/nginx:http"} {
		if !strings.Contains(text, part) {
			t.Errorf("text lacks %q:\n%s", part, text)
		}
	}
}

func TestMissingRouteIsReported(t *testing.T) {
	n := newNode(t, "nftables")
	n.apply(nginx(remote, lost))
	path := n.explain(podA, serviceIP+":30050/tcp")
	if len(path.Targets) != 2 || path.Targets[0].Unreachable || path.Targets[1].Missing != "10.244.3.0/24" {
		t.Fatalf("targets %+v; want the second without a route to 10.244.3.0/24", path.Targets)
	}
	if len(path.Problems) != 1 || !strings.Contains(path.Problems[0], "no route to 10.244.3.0/24") {
		t.Errorf("problems %q", path.Problems)
	}
	_, all, _ := net.ParseCIDR("0.0.0.0/0")
	check(t, n.handle.RouteDel(&netlink.Route{Dst: all, Gw: net.ParseIP("172.18.0.1")}))
	path = n.explain(podA, serviceIP+":30050/tcp")
	if path.Targets[1].Missing != "10.244.3.0/24" {
		t.Errorf("without a default route: %+v", path.Targets[1])
	}
}

func TestOutcomes(t *testing.T) { onEach(t, outcomes) }

func outcomes(t *testing.T, n *node) {
	empty := nginx()
	empty.Object.Name, empty.Addresses[0] = "empty", netip.MustParseAddr("10.96.0.21")
	empty.Frontends = empty.Frontends[:1]
	empty.Frontends[0].Addr = empty.Addresses[0]
	ranged := nginx(podB)
	ranged.Object.Name, ranged.Addresses, ranged.Frontends = "ranged", nil, ranged.Frontends[:1]
	ranged.Frontends[0].Kind, ranged.Frontends[0].Addr, ranged.Frontends[0].Masquerade = table.LoadBalancer, netip.MustParseAddr("198.51.100.7"), table.Always
	ranged.Frontends[0].SourceRanges = []netip.Prefix{netip.MustParsePrefix("172.18.0.8/31")}
	local := nginx(podB)
	local.Object.Name, local.Addresses, local.Frontends = "local", nil, local.Frontends[:1]
	local.Frontends[0].Kind, local.Frontends[0].Addr, local.Frontends[0].Masquerade = table.LoadBalancer, netip.MustParseAddr("198.51.100.8"), table.Always
	far := local.Frontends[0]
	far.View, far.Local, far.Endpoints, far.Action, far.Masquerade = table.Outside, true, nil, table.Drop, table.Never
	local.Frontends = append(local.Frontends, far)
	n.apply(nginx(podB, remote), empty, ranged, local)
	for _, c := range []struct {
		name, from, to        string
		kind, action, problem string
	}{
		{"the node itself", "", serviceIP + ":30050", explain.FromNode, "forward", ""},
		{"node port from outside", "172.18.0.9", "172.18.0.3:31000", explain.FromOutside, "forward", ""},
		{"node port from a pod", podA, "172.18.0.3:31000", explain.FromPod, "forward", ""},
		{"no endpoints", podA, "10.96.0.21:30050", explain.FromPod, "refuse", "default/empty:http has no ready endpoint"},
		{"unused port", podA, serviceIP + ":1", explain.FromPod, "refuse", "default/nginx has no port 1/tcp"},
		{"other protocol", podA, serviceIP + ":30050/udp", explain.FromPod, "refuse", "no port 30050/udp"},
		{"unused address", podA, "10.96.7.7:80", explain.FromPod, "refuse", "no service has it"},
		{"inside the source ranges", "172.18.0.9", "198.51.100.7:30050", explain.FromOutside, "forward", ""},
		{"outside the source ranges", "172.18.0.10", "198.51.100.7:30050", explain.FromOutside, "drop", "source ranges of service default/ranged:http leave 172.18.0.10 out"},
		{"policy Local, from outside", "172.18.0.9", "198.51.100.8:30050", explain.FromOutside, "drop", "no ready endpoint on this node"},
		{"policy Local, from a pod", podA, "198.51.100.8:30050", explain.FromPod, "forward", ""},
		{"a pod", podA, podB + ":80", explain.FromPod, "", ""},
		{"the node", podA, "172.18.0.3:22", explain.FromPod, "", ""},
		{"beyond the cluster", podA, "192.0.2.1:443", explain.FromPod, "", ""},
		{"a lost pod", podA, lost + ":80", explain.FromPod, "", "no route to 10.244.3.0/24"},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := n.explain(c.from, c.to)
			got := []string{path.From.Kind, ""}
			if path.Service != nil {
				got[1] = path.Service.Action
			}
			if diff := cmp.Diff([]string{c.kind, c.action}, got); diff != "" {
				t.Errorf("source, action (-want +got):\n%s\n%s", diff, path)
			}
			found := slices.ContainsFunc(path.Problems, func(p string) bool { return strings.Contains(p, c.problem) })
			if c.problem == "" && len(path.Problems) > 0 || c.problem != "" && !found {
				t.Errorf("problems %q, want %q", path.Problems, c.problem)
			}
		})
	}
}

func TestNoTable(t *testing.T) {
	n := newNode(t, "nftables")
	path := n.explain(podA, serviceIP+":30050")
	if path.Service != nil || len(path.Problems) != 1 || !strings.Contains(path.Problems[0], "carries no services") {
		t.Errorf("path:\n%s", path)
	}
}

// Each backend is explained by its own objects.
func TestWhatCarriesServices(t *testing.T) {
	for backend, wants := range map[string][]string{
		"nftables": {"table ip eastwest, map service-ip", "2 endpoints, each with probability 1/2"},
		"iptables": {"table nat, chain KUBE-SVC-", "2 endpoints, each with probability 1/2"},
		"ipvs":     {"table ip eastwest-ipvs, map masqueraded-outside", "virtual server 10.96.0.20:30050, 2 endpoints by rr, and 1 that keep", "weight 1, "},
	} {
		n := newNode(t, backend)
		row := nginx(podB, remote)
		row.Frontends[0].Draining = []netip.AddrPort{netip.MustParseAddrPort("10.244.2.9:80")}
		n.apply(row)
		path := n.explain(podA, serviceIP+":30050")
		for _, want := range wants {
			if !strings.Contains(path.String(), want) {
				t.Errorf("%s: no %q in\n%s", backend, want, path)
			}
		}
		if len(path.Targets) != 2 {
			t.Errorf("%s: targets %v", backend, path.Targets)
		}
	}
}

func TestLinkDown(t *testing.T) {
	n := newNode(t, "nftables")
	n.apply(nginx(podB))
	f, err := os.Open(filepath.Join(n.dir, "cni-b"))
	check(t, err)
	defer f.Close()
	inside, err := link.OpenIn(f)
	check(t, err)
	defer inside.Close()
	end, err := inside.LinkByName("eth0")
	check(t, err)
	check(t, inside.LinkSetDown(end))
	path := n.explain(podA, serviceIP+":30050")
	if len(path.Problems) == 0 || !strings.Contains(path.Problems[0], "link vethb") {
		t.Errorf("problems %q, want link vethb down", path.Problems)
	}
}

func TestParse(t *testing.T) {
	for _, c := range []struct{ from, to, want, fails string }{
		{"", "10.96.0.1:443", "10.96.0.1:443/tcp", ""},
		{"10.0.0.1", "10.96.0.10:53/UDP", "10.96.0.10:53/udp", ""},
		{"fd00::1", "[fd00::2]:80/sctp", "[fd00::2]:80/sctp", ""},
		{"fd00::1", "10.0.0.1:80", "", "different address families"},
		{"pod", "10.0.0.1:80", "", "is not an address"},
		{"", "10.0.0.1", "", "is not of the form"},
		{"", "10.0.0.1:80/icmp", "", "is not tcp, udp or sctp"},
	} {
		q, err := explain.Parse(c.from, c.to)
		if c.fails != "" && (err == nil || !strings.Contains(err.Error(), c.fails)) {
			t.Errorf("Parse(%q, %q) = %v, want an error with %q", c.from, c.to, err, c.fails)
		}
		if c.fails == "" && (err != nil || q.String() != c.want) {
			t.Errorf("Parse(%q, %q) = %s, %v; want %s", c.from, c.to, q, err, c.want)
		}
	}
}
