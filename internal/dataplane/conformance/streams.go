// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"eastwest/internal/kernel/netns"
	"eastwest/internal/table"
)

// An open TCP connection goes on when its endpoint gets no new ones, and when a new process takes over, as long as the Service lists the endpoint.
func tcpDraining(s *scene) {
	netDefault(s)
	stop := s.echo(s.lab.b, drained)
	defer stop()
	s.apply(row("nginx", "10.96.0.7", drained))
	conn := s.hold(s.lab.client, "tcp", vip)
	conn.echoes("served")
	s.apply(draining(c))
	conn.echoes("it terminates")
	s.spread(s.lab.client, "tcp", vip, "c")
	s.apply(draining())
	conn.echoes("and no other is left")
	s.expect(s.lab.client, "tcp", vip, "refused")
	s.restart()
	s.apply(draining(c), row("other", "10.96.0.8", c))
	conn.echoes("another process took over")
	s.apply(row("nginx", "10.96.0.7", drained, c), row("other", "10.96.0.8", c))
	conn.echoes("it is back")
}

// drained is an endpoint that takes its time.
const drained = "10.244.1.2:81"

// draining is a Service with these endpoints, and one that gets no new connections.
func draining(endpoints ...string) table.Service {
	r := row("nginx", "10.96.0.7", endpoints...)
	r.Frontends[0].Draining = []netip.AddrPort{netip.MustParseAddrPort(drained)}
	return r
}

// An open TCP connection goes on when its node port was changed, until its endpoint is gone.
func tcpNodePortChanged(s *scene) {
	netDefault(s)
	stop := s.echo(s.lab.b, drained)
	defer stop()
	s.apply(with(row("nginx", "10.96.0.7", drained), tcpNodePort(31000, drained)))
	conn := s.hold(s.lab.other, "tcp", nodeIP+":31000")
	conn.echoes("served")
	s.apply(with(row("nginx", "10.96.0.7", drained), tcpNodePort(31001, drained)))
	conn.echoes("the node port has another number")
	s.apply(with(draining(c), tcpNodePort(31001, c)))
	conn.echoes("its endpoint terminates")
	s.apply(with(row("nginx", "10.96.0.7", c), tcpNodePort(31001, c)))
	conn.ends("its endpoint is gone")
}

// An open TCP connection ends when its endpoint is gone, with the whole Service or without, and others go on. A connection that is not to the Service
// goes on, too.
func tcpEndpointGone(s *scene) {
	netDefault(s)
	const served, other = "10.244.1.2:81", "10.244.1.3:81"
	stop, stopOther := s.echo(s.lab.b, served), s.echo(s.lab.c, other)
	defer stop()
	defer stopOther()
	open := func(endpoint string) held {
		s.apply(row("nginx", "10.96.0.7", endpoint))
		conn := s.hold(s.lab.client, "tcp", vip)
		conn.echoes("served by " + endpoint)
		return conn
	}
	direct := s.hold(s.lab.client, "tcp", served)
	s.apply(row("nginx", "10.96.0.7", served))
	goes := s.hold(s.lab.client, "tcp", vip)
	goes.echoes("served")
	s.apply(row("nginx", "10.96.0.7", served, other))
	var stays held
	for range 64 {
		if stays = s.hold(s.lab.client, "tcp", vip); s.endpointOf(stays) == other {
			break
		}
	}
	stays.echoes("served by the other")
	s.apply(row("nginx", "10.96.0.7", other))
	goes.ends("its endpoint is gone")
	stays.echoes("the other's is gone")
	s.apply(row("nginx", "10.96.0.7"))
	stays.ends("no endpoint is left")

	last := open(served)
	s.apply()
	last.ends("the service is gone")

	before := open(served)
	s.restart()
	s.apply(row("nginx", "10.96.0.7", other))
	before.ends("its endpoint went while there was no proxy")
	before = open(served)
	s.restart()
	s.apply(row("other", "10.96.0.8", other))
	before.ends("its service went while there was no proxy")
	direct.echoes("all the time")
}

// endpointOf returns where the kernel sends a connection of the client.
func (s *scene) endpointOf(h held) string {
	s.t.Helper()
	local := netip.MustParseAddrPort(h.LocalAddr().String())
	for _, flow := range s.flows(unix.IPPROTO_TCP) {
		if flow.Forward.SrcPort == local.Port() && flow.Forward.SrcIP.String() == local.Addr().String() {
			return netip.AddrPortFrom(netip.MustParseAddr(flow.Reverse.SrcIP.String()), flow.Reverse.SrcPort).String()
		}
	}
	s.t.Fatalf("the kernel does not track the connection of %s", local)
	return ""
}

func tcpNodePort(number uint16, endpoints ...string) table.Frontend {
	return always(frontend(table.NodePort, netip.IPv4Unspecified(), table.TCP, number, endpoints...))
}

// echo sends back what comes over streams, until the function that it returns is called.
func (s *scene) echo(h host, addr string) func() {
	s.t.Helper()
	var listener net.Listener
	err := netns.Do(h.netns, func() (err error) {
		listener, err = net.Listen("tcp", addr)
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				buffer := make([]byte, 64)
				for {
					n, err := conn.Read(buffer)
					if err != nil {
						return
					}
					if _, err := conn.Write(buffer[:n]); err != nil {
						return
					}
				}
			}()
		}
	}()
	return func() { listener.Close() }
}

// echoes wants what it says to come back.
func (h held) echoes(when string) {
	h.scene.t.Helper()
	_ = h.SetDeadline(time.Now().Add(patience))
	buffer := make([]byte, 64)
	if _, err := fmt.Fprint(h, when); err != nil {
		h.scene.t.Fatalf("%s: %v", when, err)
	}
	n, err := h.Read(buffer)
	if err != nil || string(buffer[:n]) != when {
		h.scene.t.Fatalf("%s: %q, %v", when, buffer[:n], err)
	}
}

// ends wants the connection to be over when the client says something.
func (h held) ends(when string) {
	h.scene.t.Helper()
	_ = h.SetDeadline(time.Now().Add(patience))
	_, err := fmt.Fprint(h, when)
	if err == nil {
		_, err = h.Read(make([]byte, 64))
	}
	if !errors.Is(err, unix.ECONNRESET) && !errors.Is(err, unix.ECONNREFUSED) {
		h.scene.t.Errorf("%s: %v, want a reset", when, err)
	}
}

// A whole association of SCTP, where the kernel has such sockets.
func sctpAssociation(s *scene) {
	server, err := sctpSocket(s.lab.b, netip.MustParseAddrPort("10.244.1.2:9999"))
	if errors.Is(err, unix.EPROTONOSUPPORT) || errors.Is(err, unix.ESOCKTNOSUPPORT) {
		s.t.Skip("this kernel has no SCTP sockets")
	}
	if err == nil {
		err = unix.Listen(server, 8)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { unix.Close(server) })
	go answerAssociations(server)
	r := row("nginx", "10.96.0.7", b)
	r.Frontends = append(r.Frontends, frontend(table.ClusterIP, netip.MustParseAddr("10.96.0.7"), table.SCTP, 9000, "10.244.1.2:9999"))
	s.apply(r)
	client, err := sctpSocket(s.lab.client, netip.MustParseAddrPort("10.244.0.9:0"))
	if err != nil {
		s.t.Fatal(err)
	}
	defer unix.Close(client)
	buffer := make([]byte, 64)
	n := 0
	if err = unix.Connect(client, &unix.SockaddrInet4{Addr: [4]byte{10, 96, 0, 7}, Port: 9000}); err == nil {
		if _, err = unix.Write(client, []byte("?")); err == nil {
			n, err = unix.Read(client, buffer)
		}
	}
	if err != nil || string(buffer[:n]) != "b 10.244.0.9" {
		s.t.Errorf("the association answers %q, %v", buffer[:n], err)
	}
}

// sctpSocket makes a socket in a host that is bound to one of its addresses, so that the association has this one alone.
func sctpSocket(h host, at netip.AddrPort) (int, error) {
	fd := -1
	err := netns.Do(h.netns, func() (err error) {
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_SCTP)
		return err
	})
	if err != nil {
		return -1, err
	}
	limit := unix.NsecToTimeval(patience.Nanoseconds())
	err = errors.Join(
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit),
		unix.Bind(fd, &unix.SockaddrInet4{Addr: at.Addr().As4(), Port: int(at.Port())}),
	)
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// answerAssociations answers one association with b's name and the client's address.
func answerAssociations(server int) {
	fd, from, err := unix.Accept(server)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	if _, err := unix.Read(fd, make([]byte, 64)); err != nil {
		return
	}
	if client, ok := from.(*unix.SockaddrInet4); ok {
		_, _ = unix.Write(fd, []byte("b "+netip.AddrFrom4(client.Addr).String()))
	}
}
