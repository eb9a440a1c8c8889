// SPDX-License-Identifier: Apache-2.0

// Package conformance is the suite that every services dataplane passes: it builds a node, pods and a machine outside
// the cluster out of network namespaces, applies rows, sends packets and looks at who answers.
//
//	outside 192.0.2.2 ─── 192.0.2.1 node 172.18.0.2 ─┬─ client 10.244.0.9
//	                                                 ├─ a 10.244.0.2   on the node
//	                                                 └─ b, c 10.244.1.2, .3   as if on another node
package conformance

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"eastwest/internal/kernel/netns"
	"eastwest/internal/kernel/netns/netnstest"
)

// The address plan.
const (
	nodeIP    = "172.18.0.2"
	gateway   = "169.254.1.1"
	outsideIP = "192.0.2.2"
	nodeIP6   = "fd00:172::2"
	gateway6  = "fe80::1"
)

// How long a test waits for an answer that must come, on a busy machine, and for one that must not.
const (
	patience = 10 * time.Second
	silence  = 500 * time.Millisecond
)

// host is a machine or pod of the lab.
type host struct {
	name  string
	netns string
	addrs []netip.Addr
}

// lab is a node with pods around it.
type lab struct {
	node                   host
	client, a, b, c, other host // other is outside the cluster
}

func newLab(t *testing.T) *lab {
	t.Helper()
	l := &lab{node: host{name: "node", netns: netnstest.New(t)}}
	netnstest.In(t, l.node.netns, func() error {
		return errors.Join(
			up("lo"), addAddr("lo", nodeIP), addAddr("lo", nodeIP6),
			set("net/ipv4/ip_forward", "1"), set("net/ipv6/conf/all/forwarding", "1"),
			set("net/ipv4/conf/all/rp_filter", "0"),
			// Redirects would use up what the kernel allows of unreachables.
			set("net/ipv4/conf/all/send_redirects", "0"), set("net/ipv4/conf/default/send_redirects", "0"),
		)
	})
	l.client = l.attach(t, "client", "10.244.0.9", "fd00:10:0:0::9")
	l.a = l.attach(t, "a", "10.244.0.2", "fd00:10:0:0::2")
	l.b = l.attach(t, "b", "10.244.1.2", "fd00:10:0:1::2")
	l.c = l.attach(t, "c", "10.244.1.3", "fd00:10:0:1::3")
	l.other = l.attach(t, "outside", outsideIP, "2001:db8::2")
	return l
}

// attach makes a namespace that has the node as its only neighbour.
func (l *lab) attach(t *testing.T, name string, addrs ...string) host {
	t.Helper()
	h := host{name: name, netns: netnstest.New(t)}
	for _, a := range addrs {
		h.addrs = append(h.addrs, netip.MustParseAddr(a))
	}
	netnstest.In(t, l.node.netns, func() error {
		peer, err := os.Open(h.netns)
		if err != nil {
			return err
		}
		defer peer.Close()
		veth := &netlink.Veth{
			LinkAttrs: netlink.LinkAttrs{Name: "v" + name}, PeerName: "eth0", PeerNamespace: netlink.NsFd(int(peer.Fd())),
		}
		errs := []error{netlink.LinkAdd(veth), up("v" + name), addAddr("v"+name, gateway), addAddr("v"+name, gateway6)}
		for _, addr := range h.addrs {
			errs = append(errs, addRoute("v"+name, netip.PrefixFrom(addr, addr.BitLen()), netip.Addr{}))
		}
		return errors.Join(errs...)
	})
	netnstest.In(t, h.netns, func() error {
		errs := []error{up("lo"), up("eth0")}
		for _, addr := range h.addrs {
			errs = append(errs, addAddr("eth0", addr.String()))
		}
		return errors.Join(append(errs,
			addRoute("eth0", netip.MustParsePrefix("0.0.0.0/0"), netip.MustParseAddr(gateway)),
			addRoute("eth0", netip.MustParsePrefix("::/0"), netip.MustParseAddr(gateway6)))...)
	})
	return h
}

// serve answers TCP and UDP on every address of a pod with its name and the address it was asked from.
func serve(t *testing.T, h host, port uint16) {
	t.Helper()
	netnstest.In(t, h.netns, func() error {
		listener, err := net.Listen("tcp", fmt.Sprintf("[::]:%d", port))
		if err != nil {
			return err
		}
		t.Cleanup(func() { listener.Close() })
		go answerStreams(listener, h.name)
		for _, addr := range h.addrs {
			socket, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(addr, port)))
			if err != nil {
				return err
			}
			t.Cleanup(func() { socket.Close() })
			go answerDatagrams(socket, h.name)
		}
		return nil
	})
}

func answerStreams(listener net.Listener, name string) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		fmt.Fprintf(conn, "%s %s", name, addrOf(conn.RemoteAddr()))
		conn.Close()
	}
}

func answerDatagrams(socket *net.UDPConn, name string) {
	buffer := make([]byte, 64)
	for {
		_, from, err := socket.ReadFrom(buffer)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			_, _ = socket.WriteTo(fmt.Appendf(nil, "%s %s", name, addrOf(from)), from)
		}
	}
}

func addrOf(a net.Addr) netip.Addr { return netip.MustParseAddrPort(a.String()).Addr().Unmap() }

// dial opens a connection from a host; it stays in that host's namespace.
func dial(h host, network, to string, wait time.Duration) (conn net.Conn, err error) {
	err = netns.Do(h.netns, func() error {
		conn, err = net.DialTimeout(network, to, wait)
		return err
	})
	return conn, err
}

// ask returns the answer "name client-address", or "refused", "silence" or another error.
func ask(h host, network, to string) string {
	conn, err := dial(h, network, to, patience)
	if err != nil {
		return outcome(err)
	}
	defer conn.Close()
	return converse(conn)
}

func converse(conn net.Conn) string { return converseWithin(conn, patience) }

func converseWithin(conn net.Conn, wait time.Duration) string {
	_ = conn.SetDeadline(time.Now().Add(wait))
	buffer := make([]byte, 128)
	if conn.LocalAddr().Network() == "udp" {
		if _, err := conn.Write([]byte("?")); err != nil {
			return outcome(err)
		}
		n, err := conn.Read(buffer)
		if err != nil {
			return outcome(err)
		}
		return string(buffer[:n])
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		return outcome(err)
	}
	return string(answer)
}

func outcome(err error) string {
	var timeout net.Error
	switch {
	case errors.Is(err, unix.ECONNREFUSED), errors.Is(err, unix.EPERM): // EPERM: a datagram refused on its way out
		return "refused"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "silence"
	}
	return err.Error()
}

// who asks several times and counts the names that answered.
func who(h host, network, to string, times int) map[string]int {
	counts := map[string]int{}
	for range times {
		name, _, _ := strings.Cut(ask(h, network, to), " ")
		counts[name]++
	}
	return counts
}

func up(name string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(link)
}

func addAddr(name, addr string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	ip := netip.MustParseAddr(addr)
	out := &netlink.Addr{IPNet: &net.IPNet{IP: ip.AsSlice(), Mask: net.CIDRMask(ip.BitLen(), ip.BitLen())}}
	if ip.IsLinkLocalUnicast() && ip.Is6() {
		out.Mask = net.CIDRMask(64, 128)
	}
	if ip.Is6() {
		out.Flags = unix.IFA_F_NODAD
	}
	if err := netlink.AddrAdd(link, out); err != nil {
		return fmt.Errorf("add %s to %s: %w", addr, name, err)
	}
	return nil
}

func addRoute(name string, to netip.Prefix, via netip.Addr) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	route := &netlink.Route{
		LinkIndex: link.Attrs().Index, Scope: netlink.SCOPE_LINK,
		Dst: &net.IPNet{IP: to.Addr().AsSlice(), Mask: net.CIDRMask(to.Bits(), to.Addr().BitLen())},
	}
	if via.IsValid() {
		route.Gw, route.Flags, route.Scope = via.AsSlice(), int(netlink.FLAG_ONLINK), netlink.SCOPE_UNIVERSE
	}
	if err := netlink.RouteAdd(route); err != nil {
		return fmt.Errorf("add route to %s through %s: %w", to, name, err)
	}
	return nil
}

func set(name, value string) error { return os.WriteFile("/proc/sys/"+name, []byte(value), 0o644) }

func inNode(s *scene, fn func() error) {
	if err := netns.Do(s.lab.node.netns, fn); err != nil {
		s.t.Fatal(err)
	}
}

func deleteDefault(all netip.Prefix) error {
	return netlink.RouteDel(&netlink.Route{Dst: &net.IPNet{IP: all.Addr().AsSlice(), Mask: net.CIDRMask(0, all.Addr().BitLen())}})
}

func deleteAddr(name, addr string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	ip := netip.MustParseAddr(addr)
	return netlink.AddrDel(link, &netlink.Addr{IPNet: &net.IPNet{IP: ip.AsSlice(), Mask: net.CIDRMask(ip.BitLen(), ip.BitLen())}})
}
