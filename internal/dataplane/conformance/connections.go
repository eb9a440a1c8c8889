// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"net"
	"net/netip"
	"strings"

	"eastwest/internal/table"
)

// held is a connection that a client keeps open.
type held struct {
	net.Conn
	scene *scene
}

func (s *scene) hold(from host, network, to string) held {
	s.t.Helper()
	conn, err := dial(from, network, to, patience)
	if err != nil {
		s.t.Fatalf("%s dials %s %s: %v", from.name, network, to, err)
	}
	s.t.Cleanup(func() { conn.Close() })
	return held{conn, s}
}

// hears wants an answer on the connection.
func (h held) hears(when, want string) {
	h.scene.t.Helper()
	if have := converse(h.Conn); have != want {
		h.scene.t.Errorf("%s: %s, want %s", when, have, want)
	}
}

func udpNodePort(number uint16, endpoints ...string) table.Frontend {
	return always(frontend(table.NodePort, netip.IPv4Unspecified(), table.UDP, number, endpoints...))
}

// A client that keeps its UDP socket does not stay with the endpoints of a Service that was deleted.
func udpServiceDeleted(s *scene) {
	netDefault(s)
	s.apply(row("nginx", "10.96.0.7", b))
	conn := s.hold(s.lab.client, "udp", vip)
	conn.hears("served", "b 10.244.0.9")
	s.apply()
	conn.hears("deleted", "refused")
	s.apply(row("nginx", "10.96.0.7", c))
	conn.hears("made again", "c 10.244.0.9")
}

// A node port that a Service gives up no longer leads anywhere.
func udpNodePortChanged(s *scene) {
	s.apply(with(row("nginx", "10.96.0.7", b), udpNodePort(31000, b)))
	conn := s.hold(s.lab.other, "udp", nodeIP+":31000")
	conn.hears("served", "b "+gateway)
	s.apply(with(row("nginx", "10.96.0.7", b), udpNodePort(31001, b)))
	conn.hears("moved to another number", "refused")
	s.apply(with(row("nginx", "10.96.0.7", c), udpNodePort(31000, c)))
	conn.hears("and back", "c "+gateway)
}

// An endpoint that still serves while it terminates keeps its clients; new ones go elsewhere.
func udpDraining(s *scene) {
	s.apply(row("nginx", "10.96.0.7", b))
	conn := s.hold(s.lab.client, "udp", vip)
	conn.hears("served", "b 10.244.0.9")
	r := row("nginx", "10.96.0.7", c)
	r.Frontends[1].Draining = []netip.AddrPort{netip.MustParseAddrPort(b)}
	s.apply(r)
	conn.hears("terminating", "b 10.244.0.9")
	s.expect(s.lab.client, "udp", vip, "c 10.244.0.9")
	s.apply(row("nginx", "10.96.0.7", c))
	conn.hears("gone", "c 10.244.0.9")
}

// A client that asked before there was a Service is served once there is one, and clients of other places that use the
// same port number are left in peace.
func udpBeforeTheService(s *scene) {
	netDefault(s)
	s.apply(row("other", "10.96.0.8", b)) // without any rule the kernel tracks nothing
	stop := s.listenAt(s.lab.other, outsideIP+":31000")
	defer stop()
	early := s.hold(s.lab.client, "udp", balancer+":80")
	if _, err := early.Write([]byte("?")); err != nil {
		s.t.Fatal(err)
	}
	bystander := s.hold(s.lab.client, "udp", outsideIP+":31000")
	bystander.hears("before", "agent 10.244.0.9")
	before := s.entries(outsideIP)
	s.apply(with(row("nginx", "10.96.0.7", b), udpNodePort(31000, b),
		always(frontend(table.LoadBalancer, netip.MustParseAddr(balancer), table.UDP, 80, b))))
	early.hears("once the service is there", "b "+gateway)
	if after := s.entries(outsideIP); before != 1 || after != 1 {
		s.t.Errorf("connections of a bystander: %d, then %d; want 1 and 1", before, after)
	}
}

// A new process that takes over drops no connection that is good, and clears up what went while there was none.
func restart(s *scene) {
	netDefault(s)
	one, two := row("one", "10.96.0.7", b), row("two", "10.96.0.8", b)
	s.apply(one, two)
	stays, goes, gone := s.hold(s.lab.client, "udp", vip), s.hold(s.lab.client, "udp", vip), s.hold(s.lab.client, "udp", "10.96.0.8:8080")
	stream := s.hold(s.lab.client, "tcp", vip)
	for _, c := range []held{stays, goes, gone} {
		c.hears("before", "b 10.244.0.9")
	}
	s.restart()
	s.apply(one, two)
	if n := s.entries("10.96.0.7"); n != 2 {
		s.t.Errorf("%d UDP connections to 10.96.0.7 after the restart, want 2", n)
	}
	stays.hears("after", "b 10.244.0.9")
	stream.hears("after", "b 10.244.0.9")
	s.restart()
	s.apply(row("one", "10.96.0.7", c))
	goes.hears("the endpoint went meanwhile", "c 10.244.0.9")
	gone.hears("the service went meanwhile", "refused")
}

// A restart and a resync keep which endpoint a client goes to.
func affinityAcrossRestart(s *scene) {
	r := row("nginx", "10.96.0.7", a, b, c)
	for i := range r.Frontends {
		r.Frontends[i].AffinitySeconds = 5400
	}
	s.apply(r)
	first := ask(s.lab.client, "tcp", vip)
	for range 3 {
		s.restart()
		s.apply(r)
		for range 4 {
			s.expect(s.lab.client, "tcp", vip, first)
		}
	}
}

// A client is remembered as long as the Service says, and no longer.
func affinityEnds(s *scene) {
	r := row("nginx", "10.96.0.7", a, b, c)
	for i := range r.Frontends {
		r.Frontends[i].AffinitySeconds = 1
	}
	s.apply(r)
	seen := map[string]bool{}
	for range 12 {
		seen[ask(s.lab.client, "tcp", vip)] = true
		s.wait(1200)
	}
	if len(seen) < 2 {
		s.t.Errorf("always %v, although each time was forgotten", seen)
	}
}

// A client of a virtual address, a node port or a load balancer over IPv6 stays with its endpoint as one over IPv4 does.
func affinityIPv6(s *scene) {
	const a6, b6, c6 = "[fd00:10::2]:80", "[fd00:10:0:1::2]:80", "[fd00:10:0:1::3]:80"
	build := func(endpoints ...string) table.Service {
		r := with(row("nginx", "fd00:96::7", endpoints...),
			always(frontend(table.NodePort, netip.IPv6Unspecified(), table.TCP, 31000, endpoints...)),
			always(frontend(table.LoadBalancer, netip.MustParseAddr(balancer6), table.TCP, 80, endpoints...)))
		for i := range r.Frontends {
			r.Frontends[i].AffinitySeconds = 5400
		}
		return r
	}
	for _, to := range []string{"[fd00:96::7]:8080", "[" + nodeIP6 + "]:31000", "[" + balancer6 + "]:80"} {
		stays := func(when, name string) {
			s.t.Helper()
			if counts := who(s.lab.client, "tcp", to, 12); counts[name] != 12 {
				s.t.Errorf("%s, %s: answers %v, want only %s", to, when, counts, name)
			}
		}
		s.apply(build(c6))
		stays("alone", "c")
		s.apply(build(a6, b6, c6))
		stays("in another slot", "c")
		s.apply(build(a6, b6))
		first, _, _ := strings.Cut(ask(s.lab.client, "tcp", to), " ")
		stays("after it is gone", first)
	}
}
