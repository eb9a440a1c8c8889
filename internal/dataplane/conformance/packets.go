// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"eastwest/internal/kernel/netns"
	"eastwest/internal/table"
)

// A stray answer, which conntrack cannot place, must not reach the client untranslated: its own kernel would answer it
// with a reset, and that would end the connection.
func strayAnswer(s *scene) {
	stop := s.listenAt(s.lab.b, "10.244.1.2:81")
	defer stop()
	s.apply(row("nginx", "10.96.0.7", "10.244.1.2:81"))
	quiet := s.sniff(s.lab.b, unix.IPPROTO_TCP)
	conn := s.hold(s.lab.client, "tcp", vip)
	from := netip.MustParseAddrPort(conn.LocalAddr().String())
	s.send(s.lab.b, unix.IPPROTO_TCP, from.Addr(), strayAck(81, from.Port(), netip.MustParseAddr("10.244.1.2"), from.Addr()))
	s.wait(200)
	for {
		packet, ok := quiet()
		if !ok {
			break
		}
		if len(packet) >= 20 && binary.BigEndian.Uint16(packet) == from.Port() && packet[13]&4 != 0 {
			s.t.Fatal("the client reset its connection")
		}
	}
}

// strayAck makes a segment far outside of every window.
func strayAck(sport, dport uint16, src, dst netip.Addr) []byte {
	out := make([]byte, 20)
	binary.BigEndian.PutUint16(out, sport)
	binary.BigEndian.PutUint16(out[2:], dport)
	binary.BigEndian.PutUint32(out[4:], 0x70000000)
	binary.BigEndian.PutUint32(out[8:], 0x70000000)
	out[12], out[13] = 5<<4, 0x10 // length, ACK
	binary.BigEndian.PutUint16(out[14:], 1024)
	pseudo := append(append(src.AsSlice(), dst.AsSlice()...), 0, 6, 0, 20)
	var sum uint32
	for _, b := range [][]byte{pseudo, out} {
		for i := 0; i < len(b); i += 2 {
			sum += uint32(binary.BigEndian.Uint16(b[i:]))
		}
	}
	sum = sum>>16 + sum&0xffff
	binary.BigEndian.PutUint16(out[16:], ^uint16(sum+sum>>16))
	return out
}

// SCTP is carried like the others. The kernel may lack it as a socket, so the first chunk of an association is made here.
func sctp(s *scene) {
	r := row("nginx", "10.96.0.7", b)
	r.Frontends = append(r.Frontends, frontend(table.ClusterIP, netip.MustParseAddr("10.96.0.7"), table.SCTP, 9000, "10.244.1.2:9999"))
	s.apply(r)
	arrived := s.sniff(s.lab.b, unix.IPPROTO_SCTP)
	s.send(s.lab.client, unix.IPPROTO_SCTP, netip.MustParseAddr("10.96.0.7"), association(chunkInit, 40000, 9000, 0, ""))
	packet, ok := arrived()
	if !ok || binary.BigEndian.Uint16(packet[2:]) != 9999 {
		s.t.Errorf("the chunk did not arrive at port 9999: %x", packet)
	}
}

// sniff opens a raw socket in a host. The function that it returns gives the next packet, without its IP header.
func (s *scene) sniff(h host, protocol int) func() ([]byte, bool) {
	s.t.Helper()
	fd := s.raw(h, protocol)
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: silence.Microseconds()}); err != nil {
		s.t.Fatal(err)
	}
	return func() ([]byte, bool) {
		buffer := make([]byte, 2048)
		n, _, err := unix.Recvfrom(fd, buffer, 0)
		if err != nil || n < 20 {
			return nil, false
		}
		header := int(buffer[0]&15) * 4
		return buffer[header:n], true
	}
}

func (s *scene) send(h host, protocol int, to netip.Addr, packet []byte) {
	s.t.Helper()
	if err := unix.Sendto(s.raw(h, protocol), packet, 0, &unix.SockaddrInet4{Addr: to.As4()}); err != nil {
		s.t.Fatal(err)
	}
}

func (s *scene) raw(h host, protocol int) int {
	s.t.Helper()
	var fd int
	err := netns.Do(h.netns, func() (err error) {
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// wait lets time pass that the kernel counts.
func (s *scene) wait(milliseconds int) { time.Sleep(time.Duration(milliseconds) * time.Millisecond) }

// listenAt answers on one address of a host, over TCP and UDP, until the function that it returns is called. Streams stay
// open, so that their answer comes when the client asks.
func (s *scene) listenAt(h host, addr string) func() {
	s.t.Helper()
	var listener net.Listener
	var socket net.PacketConn
	err := netns.Do(h.netns, func() (err error) {
		if listener, err = net.Listen("tcp", addr); err != nil {
			return err
		}
		socket, err = net.ListenPacket("udp", addr)
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	go answerDatagrams(socket.(*net.UDPConn), "agent")
	return func() { listener.Close(); socket.Close() }
}

// entries counts the UDP connections of the node whose client sends to an address.
func (s *scene) entries(to string) int {
	s.t.Helper()
	count := 0
	for _, f := range s.flows(unix.IPPROTO_UDP) {
		if f.Forward.DstIP.String() == to {
			count++
		}
	}
	return count
}

// flows returns the IPv4 connections of the node.
func (s *scene) flows(protocol uint8) (flows []*netlink.ConntrackFlow) {
	s.t.Helper()
	inNode(s, func() (err error) {
		flows, err = netlink.ConntrackTableList(netlink.ConntrackTable, unix.AF_INET)
		return err
	})
	return slices.DeleteFunc(flows, func(f *netlink.ConntrackFlow) bool { return f.Forward.Protocol != protocol })
}

// Bits of the packet mark that others use arrive where they were sent to.
func foreignMarks(s *scene) {
	const mark = 0x0a000b00
	netDefault(s)
	s.apply(row("nginx", "10.96.0.7", b))
	s.lab.counter(s, mark)
	err := netns.Do(s.lab.node.netns, func() error {
		dialer := net.Dialer{Timeout: patience, Control: func(_, _ string, c syscall.RawConn) error {
			var err error
			controlErr := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_MARK, mark) })
			return errors.Join(controlErr, err)
		}}
		conn, err := dialer.Dial("tcp", vip)
		if err == nil {
			conn.Close()
		}
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	if !s.lab.counted(s) {
		s.t.Error("no packet with the mark left the node")
	}
}

// counter counts packets with a mark after everything else.
func (l *lab) counter(s *scene, mark uint32) {
	s.t.Helper()
	script := fmt.Sprintf("table ip watch { chain out { type filter hook postrouting priority 500; meta mark %d counter; }; }", mark)
	inNode(s, func() error { return exec.Command("nft", script).Run() })
	s.t.Cleanup(func() { inNode(s, func() error { return exec.Command("nft", "delete table ip watch").Run() }) })
}

func (l *lab) counted(s *scene) bool {
	var listing []byte
	inNode(s, func() (err error) {
		listing, err = exec.Command("nft", "list table ip watch").Output()
		return err
	})
	return strings.Contains(string(listing), "packets") && !strings.Contains(string(listing), "packets 0")
}
