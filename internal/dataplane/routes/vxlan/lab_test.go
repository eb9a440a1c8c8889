// SPDX-License-Identifier: Apache-2.0

package vxlan_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"eastwest/internal/dataplane/routes/vxlan"
	"eastwest/internal/kernel/netns"
	"eastwest/internal/kernel/netns/netnstest"
	"eastwest/internal/kernel/nft"
	kernel "eastwest/internal/kernel/vxlan"
	"eastwest/internal/table"
)

// host is a node in a namespace of its own, with one pod in another.
type host struct {
	t       *testing.T
	ns, pod string
	tunnel  table.Tunnel
	backend *vxlan.Backend
	conn    *kernel.Conn
}

// newHost makes host number n with its pod; its addresses are given to it by join.
func newHost(t *testing.T, n int, underlay netip.Addr) *host {
	t.Helper()
	netnstest.RequireProgram(t, "nft")
	h := &host{t: t, ns: netnstest.New(t), pod: netnstest.New(t)}
	h.conn = kernel.New(h.ns)
	h.backend = vxlan.New(h.conn, nft.New(h.ns))
	h.tunnel = table.Tunnel{
		Object: table.Object{Kind: "Node", Name: fmt.Sprintf("node%d", n)}, Address: underlay, MAC: table.MAC{2, 0, 0, 0, 0, byte(n)},
		Pods: []netip.Prefix{netip.MustParsePrefix(fmt.Sprintf("10.244.%d.0/24", n)), netip.MustParsePrefix(fmt.Sprintf("fd00:10:244:%d::/64", n))},
	}
	mtu := "1450"
	if underlay.Is6() {
		mtu = "1430"
	}
	h.run("sysctl -qw net.ipv6.conf.default.accept_dad=0 net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.conf.all.rp_filter=1")
	h.run("ip link set lo up")
	h.run("ip link add pod mtu " + mtu + " type veth peer name eth0 mtu " + mtu + " netns " + h.pod)
	h.run("ip link set pod up")
	h.run("ip addr add 169.254.1.1/32 dev pod")
	h.run("ip -6 addr add fe80::1/64 dev pod nodad")
	h.inPod("ip link set eth0 up")
	h.inPod("ip addr add " + h.podAddr(4) + "/32 dev eth0")
	h.inPod("ip -6 addr add " + h.podAddr(6) + "/128 dev eth0 nodad")
	h.inPod("ip route add 169.254.1.1 dev eth0 scope link")
	h.inPod("ip route add default via 169.254.1.1")
	h.inPod("ip -6 route add default via fe80::1 dev eth0")
	h.run("ip route add " + h.podAddr(4) + " dev pod")
	h.run("ip -6 route add " + h.podAddr(6) + " dev pod")
	return h
}

func (h *host) podAddr(family int) string {
	return h.tunnel.Pods[family/2-2].Masked().Addr().Next().Next().String()
}

func (h *host) run(command string)   { h.t.Helper(); runIn(h.t, h.ns, command) }
func (h *host) inPod(command string) { h.t.Helper(); runIn(h.t, h.pod, command) }

func runIn(t *testing.T, ns, command string) string {
	t.Helper()
	var out []byte
	err := netns.Do(ns, func() (err error) {
		fields := strings.Fields(command)
		out, err = exec.Command(fields[0], fields[1:]...).CombinedOutput()
		return err
	})
	if err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
	return string(out)
}

// rows is what a host is told of all hosts.
func (h *host) rows(all ...*host) table.Table[table.Tunnel] {
	set := map[string]table.Tunnel{}
	for _, other := range all {
		row := other.tunnel
		row.Self = other == h
		set[row.Object.Name] = row
	}
	return table.Table[table.Tunnel]{}.With(set)
}

func (h *host) apply(all ...*host) {
	h.t.Helper()
	if err := h.backend.Apply(h.t.Context(), h.rows(all...), table.Keys{All: true}); err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) dump() string {
	h.t.Helper()
	text, err := h.backend.Dump(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	return text
}

// routed puts two hosts on two networks with a router between that knows no pods.
func routed(t *testing.T, a, b netip.Prefix) (*host, *host) {
	t.Helper()
	router := netnstest.New(t)
	runIn(t, router, "sysctl -qw net.ipv6.conf.default.accept_dad=0 net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
	var both []*host
	for i, own := range []netip.Prefix{a, b} {
		h := newHost(t, i+1, own.Addr())
		gateway := own.Masked().Addr().Next()
		h.run(fmt.Sprintf("ip link add eth0 type veth peer name eth%d netns %s", i, router))
		h.run("ip link set eth0 up")
		runIn(t, router, fmt.Sprintf("ip link set eth%d up", i))
		noDAD := ""
		if own.Addr().Is6() {
			noDAD = " nodad"
		}
		runIn(t, router, fmt.Sprintf("ip addr add %s/%d dev eth%d%s", gateway, own.Bits(), i, noDAD))
		h.run(fmt.Sprintf("ip addr add %s dev eth0%s", own, noDAD))
		h.run(fmt.Sprintf("ip route add default via %s", gateway))
		both = append(both, h)
	}
	return both[0], both[1]
}

// serve answers in a pod: it reads to the end and answers with a digest of what it read and the client's address.
func serve(t *testing.T, ns string) {
	t.Helper()
	for _, network := range []string{"tcp4", "tcp6"} { // one socket for both depends on what the net package saw first
		var l net.Listener
		netnstest.In(t, ns, func() (err error) { l, err = net.Listen(network, ":80"); return err })
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go answer(c)
			}
		}()
	}
}

func answer(c net.Conn) {
	defer c.Close()
	sum := sha256.New()
	_, _ = io.Copy(sum, c)
	client, _, _ := net.SplitHostPort(c.RemoteAddr().String())
	fmt.Fprintf(c, "%x from %s", sum.Sum(nil), client)
}

// ask sends size bytes from a namespace and returns who the server saw, if it got them whole.
func ask(ctx context.Context, ns, address string, size int) (string, error) {
	var c net.Conn
	err := netns.Do(ns, func() (err error) {
		d := net.Dialer{Timeout: 2 * time.Second}
		c, err = d.DialContext(ctx, "tcp", net.JoinHostPort(address, "80"))
		return err
	})
	if err != nil {
		return "", err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(i * i >> 3)
	}
	if _, err := c.Write(data); err != nil {
		return "", err
	}
	_ = c.(*net.TCPConn).CloseWrite()
	answer, err := io.ReadAll(c)
	if err != nil {
		return "", err
	}
	digest, client, _ := strings.Cut(string(answer), " from ")
	if digest != fmt.Sprintf("%x", sha256.Sum256(data)) {
		return "", fmt.Errorf("other bytes came out than went in")
	}
	return client, nil
}

func expect(t *testing.T, ns, address, client string, size int) {
	t.Helper()
	got, err := ask(t.Context(), ns, address, size)
	if err != nil || client != "" && got != client {
		t.Errorf("asking %s: the server saw %q, %v; want %q", address, got, err, client)
	}
}

// eventually waits for what another goroutine brings about.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(15 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if is() {
			return
		}
	}
	t.Fatalf("never: %s", what)
}
