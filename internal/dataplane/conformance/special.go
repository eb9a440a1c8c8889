// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"eastwest/internal/kernel/nft"
	"eastwest/internal/table"
)

// A socket of the node takes the packets while it is there; without it the endpoints serve.
func localSocket(s *scene) {
	r := row("kube-dns", "10.96.0.10", b)
	for i := range r.Frontends {
		r.Frontends[i].LocalSocket = true
	}
	inNode(s, func() error { return addAddr("lo", "10.96.0.10") })
	s.t.Cleanup(func() { inNode(s, func() error { return deleteAddr("lo", "10.96.0.10") }) })
	s.apply(r)
	for range 2 {
		s.expect(s.lab.client, "udp", "10.96.0.10:8080", "b 10.244.0.9")
		s.expect(s.lab.client, "tcp", "10.96.0.10:8080", "b 10.244.0.9")
		stop := s.listen("10.96.0.10:8080")
		s.expect(s.lab.client, "udp", "10.96.0.10:8080", "agent 10.244.0.9")
		s.expect(s.lab.client, "tcp", "10.96.0.10:8080", "agent 10.244.0.9")
		s.expect(s.lab.node, "udp", "10.96.0.10:8080", "agent 10.96.0.10")
		stop()
	}
	s.expect(s.lab.client, "udp", "10.96.0.10:8081", "refused")
}

// listen answers on one address of the node, over TCP and UDP, until the function that it returns is called.
func (s *scene) listen(addr string) func() {
	var listener net.Listener
	var socket net.PacketConn
	inNode(s, func() (err error) {
		if listener, err = net.Listen("tcp", addr); err != nil {
			return err
		}
		socket, err = net.ListenPacket("udp", addr)
		return err
	})
	go answerStreams(listener, "agent")
	go answerDatagrams(socket.(*net.UDPConn), "agent")
	return func() { listener.Close(); socket.Close() }
}

// A client stays with its endpoint, also when others come and go, and moves when its own is gone.
func sessionAffinity(s *scene) {
	build := func(endpoints ...string) table.Service {
		r := row("nginx", "10.96.0.7", endpoints...)
		for i := range r.Frontends {
			r.Frontends[i].AffinitySeconds = 5400
		}
		return r
	}
	stays := func(name string) {
		s.t.Helper()
		if counts := who(s.lab.client, "tcp", vip, 12); counts[name] != 12 {
			s.t.Errorf("answers %v, want only %s", counts, name)
		}
	}
	s.apply(build(c))
	stays("c")
	s.apply(build(a, c)) // c moves from the first slot to the second
	stays("c")
	s.apply(build(a, b, c))
	stays("c")
	s.apply(build(a, b))
	first, _, _ := strings.Cut(ask(s.lab.client, "tcp", vip), " ")
	if first != "a" && first != "b" {
		s.t.Fatalf("after the endpoint is gone: %s", first)
	}
	stays(first)
}

// Where so many clients are remembered that there is no room for more, others are served all the same, and those that are
// remembered stay where they are.
func manyClients(s *scene) {
	kernel := nft.New(s.lab.node.netns)
	r := row("nginx", "10.96.0.7", a, b, c)
	for i := range r.Frontends {
		r.Frontends[i].AffinitySeconds = 5400
	}
	s.apply(r)
	const clients = "address-affinity"
	first, _, _ := strings.Cut(ask(s.lab.client, "tcp", vip), " ")
	list, err := kernel.Elements(s.t.Context(), nft.IPv4, "eastwest", clients)
	if err != nil || len(list) != 1 {
		s.t.Skip("this backend has no such map") // the kernel forgets the oldest clients of iptables, and IPVS has no limit
	}
	op := nft.Op{Family: nft.IPv4, Table: "eastwest", Set: clients}
	frontend := list[0].Key[:len(list[0].Key)-4]
	for n := uint32(0); ; n++ {
		op.Add = append(op.Add, nft.Element{Key: frontend + string(binary.BigEndian.AppendUint32(nil, 11<<24|n)), Data: list[0].Data, Timeout: time.Hour})
		if len(op.Add) < 2000 {
			continue
		}
		if err := kernel.Change(s.t.Context(), []nft.Op{op}); err != nil {
			break // some of the last may have been too many
		}
		op.Add = nil
	}
	for _, e := range op.Add {
		single := op
		single.Add = []nft.Element{e}
		if err := kernel.Change(s.t.Context(), []nft.Op{single}); err != nil {
			break
		}
	}
	netDefault(s)
	s.spread(s.lab.other, "tcp", vip, "a", "b", "c")
	if counts := who(s.lab.client, "tcp", vip, 12); counts[first] != 12 {
		s.t.Errorf("who was remembered went to %s, and now to %v", first, counts)
	}
}

// Only clients in the source ranges reach a load balancer's address.
func sourceRanges(s *scene) {
	endpoints := []string{b}
	build := func(ranges ...string) table.Service {
		r := row("nginx", "10.96.0.7", endpoints...)
		f := frontend(table.LoadBalancer, netip.MustParseAddr("198.51.100.7"), table.TCP, 80, endpoints...)
		f.Masquerade, f.SourceRanges = table.Always, prefixes(ranges...)
		if len(ranges) == 0 {
			f.SourceRanges = []netip.Prefix{}
		}
		r.Frontends = append(r.Frontends, f)
		return r
	}
	netDefault(s)
	s.apply(build("192.0.2.0/29", "203.0.113.0/24"))
	s.expect(s.lab.other, "tcp", "198.51.100.7:80", "b "+gateway)
	s.silent(s.lab.client, "tcp", "198.51.100.7:80")
	s.silent(s.lab.node, "tcp", "198.51.100.7:80")
	s.apply(build("10.244.0.0/16"))
	s.silent(s.lab.other, "tcp", "198.51.100.7:80")
	s.expect(s.lab.client, "tcp", "198.51.100.7:80", "b "+gateway)
	s.apply(build(nodeIP+"/32", balancer+"/32"))
	added := false
	inNode(s, func() error { // so that the node's own packets come from there
		err := addAddr("lo", balancer)
		if added = err == nil; errors.Is(err, unix.EEXIST) {
			return nil // the backend's own
		}
		return err
	})
	s.expect(s.lab.node, "tcp", "198.51.100.7:80", "b "+gateway)
	s.silent(s.lab.other, "tcp", "198.51.100.7:80")
	if added {
		inNode(s, func() error { return deleteAddr("lo", balancer) })
	}
	s.apply(build())
	s.silent(s.lab.other, "tcp", "198.51.100.7:80")
	endpoints = nil
	s.apply(build("10.244.0.0/16"))
	s.silent(s.lab.other, "tcp", "198.51.100.7:80")
	s.expect(s.lab.client, "tcp", "198.51.100.7:80", "refused")
}
