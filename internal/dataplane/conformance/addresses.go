// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"errors"
	"net/netip"

	"github.com/vishvananda/netlink"

	"eastwest/internal/dataplane"
	"eastwest/internal/kernel/netns"
	"eastwest/internal/table"
)

const (
	balancer  = "198.51.100.7"
	balancer6 = "2001:db8:1::7"
	external  = "203.0.113.9"
	secondIP  = "172.18.0.99" // another address of the node
)

// with adds frontends to a row.
func with(r table.Service, frontends ...table.Frontend) table.Service {
	r.Frontends = append(r.Frontends, frontends...)
	return r
}

func always(f table.Frontend) table.Frontend {
	f.Masquerade = table.Always
	return f
}

// outside makes the view of clients outside the cluster under policy Local.
func outside(f table.Frontend) table.Frontend {
	f.View, f.Local, f.Masquerade = table.Outside, true, table.Never
	return f
}

func dropping(f table.Frontend) table.Frontend {
	f.Action = table.Drop
	return f
}

// External addresses and those of load balancers serve everybody, also pods and the node itself, which take the short way.
func externalAddresses(s *scene) {
	build := func(endpoints ...string) table.Service {
		return with(row("nginx", "10.96.0.7", endpoints...),
			always(frontend(table.ExternalIP, netip.MustParseAddr(external), table.TCP, 80, endpoints...)),
			always(frontend(table.LoadBalancer, netip.MustParseAddr(balancer), table.TCP, 80, endpoints...)),
			always(frontend(table.LoadBalancer, netip.MustParseAddr(balancer), table.UDP, 80, endpoints...)))
	}
	netDefault(s)
	s.apply(build(b))
	for _, from := range []host{s.lab.other, s.lab.client} {
		s.expect(from, "tcp", external+":80", "b "+gateway)
		s.expect(from, "tcp", balancer+":80", "b "+gateway)
		s.expect(from, "udp", balancer+":80", "b "+gateway)
	}
	s.spread(s.lab.node, "tcp", balancer+":80", "b")
	s.apply(build())
	for _, from := range []host{s.lab.other, s.lab.client, s.lab.node} {
		s.expect(from, "tcp", external+":80", "refused")
		s.expect(from, "tcp", balancer+":80", "refused")
	}
}

// With policy Local a load balancer's clients keep their address and meet this node's endpoints alone, or silence; pods
// and the node itself meet all endpoints.
func balancerLocal(s *scene) {
	at := netip.MustParseAddr(balancer)
	build := func(local ...string) table.Service {
		out := outside(frontend(table.LoadBalancer, at, table.TCP, 80, local...))
		if len(local) == 0 {
			out = dropping(out)
		}
		return with(row("nginx", "10.96.0.7", a, b), frontend(table.LoadBalancer, at, table.TCP, 80, a, b), out)
	}
	netDefault(s)
	s.apply(build(a))
	s.expect(s.lab.other, "tcp", balancer+":80", "a "+outsideIP)
	s.spread(s.lab.client, "tcp", balancer+":80", "a", "b")
	s.spread(s.lab.node, "tcp", balancer+":80", "a", "b")
	s.apply(build())
	s.silent(s.lab.other, "tcp", balancer+":80")
	s.spread(s.lab.client, "tcp", balancer+":80", "a", "b")
}

// Internal policy Local without an endpoint on the node is silence, also for the node itself.
func internalLocal(s *scene) {
	r := row("nginx", "10.96.0.7")
	for i := range r.Frontends {
		r.Frontends[i].Local, r.Frontends[i].Action = true, table.Drop
	}
	netDefault(s)
	s.apply(r)
	s.silent(s.lab.client, "tcp", vip)
	s.silent(s.lab.node, "tcp", vip)
}

// IPv6 has everything that IPv4 has.
func ipv6Addresses(s *scene) {
	const b6 = "[fd00:10:0:1::2]:80"
	at := netip.MustParseAddr(balancer6)
	s.apply(with(row("nginx", "fd00:96::7", b6),
		outside(frontend(table.LoadBalancer, at, table.TCP, 80, b6)), frontend(table.LoadBalancer, at, table.TCP, 80, b6)))
	s.expect(s.lab.other, "tcp", "["+balancer6+"]:80", "b 2001:db8::2")
	s.expect(s.lab.client, "tcp", "["+balancer6+"]:80", "b fd00:10::9")
	s.apply(with(row("nginx", "fd00:96::7", b6), always(frontend(table.NodePort, netip.IPv6Unspecified(), table.TCP, 31000, b6))))
	s.spread(s.lab.other, "tcp", "["+nodeIP6+"]:31000", "b")
	s.spread(s.lab.client, "tcp", "["+nodeIP6+"]:31000", "b")
	s.expect(s.lab.other, "tcp", "["+nodeIP6+"]:31001", "refused")
}

// Node ports are served at the addresses that were asked for, and at no others.
func nodePortAddresses(s *scene) {
	inNode(s, func() error { return addAddr("lo", secondIP) })
	s.t.Cleanup(func() { inNode(s, func() error { return deleteAddr("lo", secondIP) }) })
	s.apply(with(row("nginx", "10.96.0.7", b), always(frontend(table.NodePort, netip.IPv4Unspecified(), table.TCP, 31000, b))))
	s.expect(s.lab.other, "tcp", secondIP+":31000", "b "+gateway)
	s.expect(s.lab.other, "tcp", nodeIP+":31000", "refused")
}

// Node ports are served at the loopback where that was asked for, and its neighbours reach nothing there.
func nodePortsOnLoopback(s *scene) {
	const forwarded = "net/ipv4/conf/all/route_localnet"
	inNode(s, func() error { return set(forwarded, "1") })
	s.t.Cleanup(func() { inNode(s, func() error { return set(forwarded, "0") }) })
	serve(s.t, host{name: "node", netns: s.lab.node.netns}, 32000)
	port := frontend(table.NodePort, netip.IPv4Unspecified(), table.TCP, 31000, a, b)
	datagrams := always(frontend(table.NodePort, netip.IPv4Unspecified(), table.UDP, 31000, a, b))
	for _, policy := range [][]table.Frontend{{port, dropping(outside(port)), datagrams}, {always(port), datagrams}} {
		s.apply(with(row("nginx", "10.96.0.7", a, b), policy...))
		s.spread(s.lab.node, "tcp", "127.0.0.1:31000", "a", "b")
		s.spread(s.lab.node, "udp", "127.0.0.1:31000", "a", "b")
	}
	s.expect(s.lab.node, "tcp", "127.0.0.1:31001", "refused")
	s.expect(s.lab.node, "tcp", nodeIP+":31000", "refused") // not asked for
	s.expect(s.lab.node, "tcp", "127.0.0.1:32000", "node 127.0.0.1")
	neighbourOfLoopback(s, s.lab.other)
	s.silent(s.lab.other, "tcp", "127.0.0.5:32000")
	s.silent(s.lab.other, "tcp", "127.0.0.5:31000")
}

// neighbourOfLoopback has a host send to its neighbour what is for the loopback.
func neighbourOfLoopback(s *scene, h host) {
	own, err := netlink.ParseAddr("127.0.0.1/8")
	if err != nil {
		s.t.Fatal(err)
	}
	change := func(forwarded string, addr func(netlink.Link, *netlink.Addr) error) error {
		return netns.Do(h.netns, func() error {
			lo, err := netlink.LinkByName("lo")
			if err != nil {
				return err
			}
			return errors.Join(set("net/ipv4/conf/all/route_localnet", forwarded), addr(lo, own))
		})
	}
	if err := change("1", netlink.AddrDel); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if err := change("0", netlink.AddrAdd); err != nil {
			s.t.Error(err)
		}
	})
}

func onLoopback(c *dataplane.Node) { c.NodePortAddresses = prefixes("127.0.0.0/8") }

func onlySecond(c *dataplane.Node) { c.NodePortAddresses = prefixes("172.18.0.96/29") }

// Where pods cannot be told from others, nobody is masqueraded for the place that they come from.
func undetected(s *scene) {
	s.apply(row("nginx", "10.96.0.7", b))
	s.expect(s.lab.client, "tcp", vip, "b 10.244.0.9")
	s.expect(s.lab.other, "tcp", vip, "b "+outsideIP)
}

func noDetection(c *dataplane.Node) { c.Local.CIDRs = nil }

// Pods may be known by the interface that their packets come in through.
func detectedByInterface(s *scene) {
	s.apply(with(row("nginx", "10.96.0.7", b),
		frontend(table.NodePort, netip.IPv4Unspecified(), table.TCP, 31000, b),
		dropping(outside(frontend(table.NodePort, netip.IPv4Unspecified(), table.TCP, 31000)))))
	s.expect(s.lab.client, "tcp", vip, "b 10.244.0.9")
	s.expect(s.lab.other, "tcp", vip, "b "+gateway)
	s.expect(s.lab.client, "tcp", nodeIP+":31000", "b 10.244.0.9")
	s.silent(s.lab.other, "tcp", nodeIP+":31000")
}

func byBridge(c *dataplane.Node) { c.Local.CIDRs, c.Local.Bridge = nil, "vclient" }
func byPrefix(c *dataplane.Node) { c.Local.CIDRs, c.Local.InterfacePrefix = nil, "vcli" }
