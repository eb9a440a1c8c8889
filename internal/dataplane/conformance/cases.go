// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"errors"
	"net/netip"

	"eastwest/internal/dataplane"
	"eastwest/internal/table"
)

type testCase struct {
	name      string
	play      func(*scene)
	configure func(*dataplane.Node) // nil leaves the standard
}

var cases = []testCase{
	{name: "cluster-ip", play: clusterIP},
	{name: "from-the-node", play: fromTheNode},
	{name: "ipv6", play: ipv6},
	{name: "no-endpoints", play: noEndpoints},
	{name: "unused-ports", play: unusedPorts},
	{name: "ranges-change", play: rangesChange},
	{name: "node-port", play: nodePort},
	{name: "external-policy-local", play: externalLocal},
	{name: "hairpin", play: hairpin},
	{name: "udp-endpoint-removed", play: udpEndpointRemoved},
	{name: "scale", play: scale},
	{name: "many-endpoints", play: manyEndpoints},
	{name: "two-services-share-an-endpoint", play: sharedEndpoint},
	{name: "local-socket", play: localSocket},
	{name: "session-affinity", play: sessionAffinity},
	{name: "many-clients", play: manyClients},
	{name: "source-ranges", play: sourceRanges},
	{name: "external-addresses", play: externalAddresses},
	{name: "balancer-policy-local", play: balancerLocal},
	{name: "internal-policy-local", play: internalLocal},
	{name: "ipv6-addresses", play: ipv6Addresses},
	{name: "node-port-addresses", play: nodePortAddresses, configure: onlySecond},
	{name: "node-ports-on-loopback", play: nodePortsOnLoopback, configure: onLoopback},
	{name: "no-detection-of-pods", play: undetected, configure: noDetection},
	{name: "pods-by-bridge", play: detectedByInterface, configure: byBridge},
	{name: "pods-by-interface-prefix", play: detectedByInterface, configure: byPrefix},
	{name: "udp-service-deleted", play: udpServiceDeleted},
	{name: "udp-node-port-changed", play: udpNodePortChanged},
	{name: "udp-draining", play: udpDraining},
	{name: "udp-before-the-service", play: udpBeforeTheService},
	{name: "tcp-draining", play: tcpDraining},
	{name: "tcp-node-port-changed", play: tcpNodePortChanged},
	{name: "tcp-endpoint-gone", play: tcpEndpointGone},
	{name: "restart", play: restart},
	{name: "affinity-across-restart", play: affinityAcrossRestart},
	{name: "affinity-ipv6", play: affinityIPv6},
	{name: "affinity-ends", play: affinityEnds},
	{name: "stray-answer", play: strayAnswer},
	{name: "sctp", play: sctp},
	{name: "sctp-association", play: sctpAssociation},
	{name: "foreign-marks", play: foreignMarks},
	{name: "another-proxys-service", play: anotherProxy},
}

// row makes a Service default/nginx with one ClusterIP frontend on port 8080.
func row(name, vip string, endpoints ...string) table.Service {
	addr := netip.MustParseAddr(vip)
	s := table.Service{
		Object:    table.Object{Kind: "Service", Namespace: "default", Name: name},
		Addresses: []netip.Addr{addr},
	}
	for _, protocol := range []table.Protocol{table.TCP, table.UDP} {
		s.Frontends = append(s.Frontends, frontend(table.ClusterIP, addr, protocol, 8080, endpoints...))
	}
	return s
}

func frontend(kind table.Kind, addr netip.Addr, protocol table.Protocol, port uint16, endpoints ...string) table.Frontend {
	f := table.Frontend{
		Kind: kind, Addr: addr, Protocol: protocol, Port: port, PortName: "http",
		Masquerade: table.FromOutside, Action: table.Reject,
	}
	for _, e := range endpoints {
		f.Action = table.Forward
		f.Endpoints = append(f.Endpoints, netip.MustParseAddrPort(e))
	}
	return f
}

const (
	a, b, c = "10.244.0.2:80", "10.244.1.2:80", "10.244.1.3:80"
	vip     = "10.96.0.7:8080"
)

// Pods reach the endpoints evenly, and these see the pod's own address.
func clusterIP(s *scene) {
	s.apply(row("nginx", "10.96.0.7", a, b, c))
	s.spread(s.lab.client, "tcp", vip, "a", "b", "c")
	s.spread(s.lab.client, "udp", vip, "a", "b", "c")
	s.apply(row("nginx", "10.96.0.7", b))
	s.expect(s.lab.client, "tcp", vip, "b 10.244.0.9")
	s.expect(s.lab.client, "udp", vip, "b 10.244.0.9")
	s.expect(s.lab.other, "tcp", vip, "b "+gateway) // masqueraded: the client is outside the cluster
}

func fromTheNode(s *scene) {
	s.apply(row("nginx", "10.96.0.7", a, b))
	netDefault(s)
	s.spread(s.lab.node, "tcp", vip, "a", "b")
}

func ipv6(s *scene) {
	s.apply(row("nginx", "fd00:96::7", "[fd00:10:0:1::2]:80"))
	netDefault(s)
	s.expect(s.lab.client, "tcp", "[fd00:96::7]:8080", "b fd00:10::9")
	s.expect(s.lab.client, "udp", "[fd00:96::7]:8080", "b fd00:10::9")
	s.expect(s.lab.client, "tcp", "[fd00:96::7]:8081", "refused")
	s.apply(row("nginx", "fd00:96::7"))
	s.expect(s.lab.client, "tcp", "[fd00:96::7]:8080", "refused")
}

// Without endpoints clients are refused at once.
func noEndpoints(s *scene) {
	s.apply(row("nginx", "10.96.0.7"))
	netDefault(s)
	for _, from := range []host{s.lab.client, s.lab.node, s.lab.other} {
		s.expect(from, "tcp", vip, "refused")
		s.expect(from, "udp", vip, "refused")
	}
}

// Ports that a Service does not have, and addresses that no Service has, do not leak out of the cluster.
func unusedPorts(s *scene) {
	s.apply(row("nginx", "10.96.0.7", a))
	netDefault(s)
	for _, to := range []string{"10.96.0.7:8081", "10.96.0.99:8080"} {
		for _, from := range []host{s.lab.client, s.lab.node} {
			s.expect(from, "tcp", to, "refused")
			s.expect(from, "udp", to, "refused")
		}
	}
}

// A node port is open on the node's addresses, except on the loopback's.
func nodePort(s *scene) {
	build := func(endpoints ...string) table.Service {
		r := row("nginx", "10.96.0.7", endpoints...)
		f := frontend(table.NodePort, netip.IPv4Unspecified(), table.TCP, 31000, endpoints...)
		f.Masquerade = table.Always
		r.Frontends = append(r.Frontends, f)
		return r
	}
	s.apply(build(a, b))
	for _, from := range []host{s.lab.other, s.lab.client, s.lab.node} {
		s.spread(from, "tcp", nodeIP+":31000", "a", "b")
	}
	s.expect(s.lab.other, "tcp", nodeIP+":31001", "refused")
	s.expect(s.lab.node, "tcp", "127.0.0.1:31000", "refused")
	s.apply(build(b))
	s.expect(s.lab.other, "tcp", nodeIP+":31000", "b "+gateway)
	s.expect(s.lab.client, "tcp", nodeIP+":31000", "b "+gateway)
}

// With external policy Local, clients outside keep their address and reach this node's endpoints alone; pods reach all.
func externalLocal(s *scene) {
	build := func(local ...string) table.Service {
		r := row("nginx", "10.96.0.7", a, b)
		outside := frontend(table.NodePort, netip.IPv4Unspecified(), table.TCP, 31000, local...)
		outside.View, outside.Local, outside.Masquerade = table.Outside, true, table.Never
		if len(local) == 0 {
			outside.Action = table.Drop
		}
		inside := frontend(table.NodePort, netip.IPv4Unspecified(), table.TCP, 31000, a, b)
		r.Frontends = append(r.Frontends, inside, outside)
		return r
	}
	s.apply(build(a))
	s.expect(s.lab.other, "tcp", nodeIP+":31000", "a "+outsideIP)
	s.spread(s.lab.client, "tcp", nodeIP+":31000", "a", "b")
	s.apply(build())
	s.silent(s.lab.other, "tcp", nodeIP+":31000")
	s.spread(s.lab.client, "tcp", nodeIP+":31000", "a", "b")
}

// A pod reaches itself through its Service.
func hairpin(s *scene) {
	r := row("nginx", "10.96.0.7", a)
	r.Hairpin = []netip.Addr{netip.MustParseAddr("10.244.0.2")}
	s.apply(r)
	s.expect(s.lab.a, "tcp", vip, "a "+gateway)
	s.expect(s.lab.a, "udp", vip, "a "+gateway)
}

// A client that keeps its UDP socket open moves to a living endpoint when its own is removed, and is refused when none
// is left.
func udpEndpointRemoved(s *scene) {
	netDefault(s)
	s.apply(row("nginx", "10.96.0.7", b))
	conn, err := dial(s.lab.client, "udp", vip, patience)
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	for _, step := range []struct {
		endpoints []string
		want      string
	}{{[]string{b}, "b 10.244.0.9"}, {[]string{c}, "c 10.244.0.9"}, {nil, "refused"}, {[]string{b}, "b 10.244.0.9"}} {
		s.apply(row("nginx", "10.96.0.7", step.endpoints...))
		if have := converse(conn); have != step.want {
			s.t.Errorf("endpoints %v: %s, want %s", step.endpoints, have, step.want)
		}
	}
}

// Any number of endpoints, up and down; deleting the Service leaves nothing of it.
func scale(s *scene) {
	netDefault(s)
	pods := []string{a, b, c}
	names := []string{"a", "b", "c"}
	for _, n := range []int{1, 3, 0, 2, 1} {
		s.apply(row("nginx", "10.96.0.7", pods[:n]...))
		if n == 0 {
			s.expect(s.lab.client, "tcp", vip, "refused")
			continue
		}
		s.spread(s.lab.client, "tcp", vip, names[:n]...)
	}
	s.apply()
	if left, err := s.dataplane.Dump(s.t.Context()); err != nil || left != "" {
		s.t.Errorf("after the last Service: %v\n%s", err, left)
	}
}

// Deleting one of two Services with the same endpoint leaves the other whole.
func sharedEndpoint(s *scene) {
	netDefault(s)
	one, two := row("one", "10.96.0.7", a), row("two", "10.96.0.8", a)
	one.Hairpin = []netip.Addr{netip.MustParseAddr("10.244.0.2")}
	two.Hairpin = one.Hairpin
	s.apply(one, two)
	s.apply(two)
	s.expect(s.lab.a, "tcp", "10.96.0.8:8080", "a "+gateway)
	s.expect(s.lab.client, "tcp", vip, "refused")
}

// netDefault gives the node default routes: without any route to it, nobody can even try to reach a virtual address.
func netDefault(s *scene) {
	s.t.Helper()
	four, six := netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")
	inNode(s, func() error {
		return errors.Join(addRoute("voutside", four, netip.MustParseAddr(outsideIP)), addRoute("voutside", six, netip.MustParseAddr("2001:db8::2")))
	})
	s.t.Cleanup(func() { inNode(s, func() error { return errors.Join(deleteDefault(four), deleteDefault(six)) }) })
}
