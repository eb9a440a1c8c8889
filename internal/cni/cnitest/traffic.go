// SPDX-License-Identifier: Apache-2.0

package cnitest

import (
	"fmt"
	"net"
	"testing"
	"time"

	"eastwest/internal/kernel/netns"
)

// patience is how long a packet is waited for; it is only ever reached when a test fails.
const patience = 3 * time.Second

// Serve starts a server in a namespace that answers "NAME CLIENT-ADDRESS" over TCP and UDP on a port of every
// address, until the test ends. Each family has a socket of its own: for one socket for both, the net package looks
// once in a process whether there is IPv6, and the first namespace that asks decides for all.
func Serve(t testing.TB, ns, name string, port int) {
	t.Helper()
	for _, family := range []string{"4", "6"} {
		var tcp net.Listener
		var udp net.PacketConn
		err := netns.Do(ns, func() (err error) {
			if tcp, err = net.Listen("tcp"+family, fmt.Sprintf(":%d", port)); err != nil {
				return err
			}
			udp, err = net.ListenPacket("udp"+family, fmt.Sprintf(":%d", port))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { tcp.Close(); udp.Close() })
		go serveTCP(tcp, name)
		go serveUDP(udp, name)
	}
}

func serveTCP(l net.Listener, name string) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
		fmt.Fprintf(c, "%s %s", name, host)
		c.Close()
	}
}

func serveUDP(c net.PacketConn, name string) {
	buf := make([]byte, 64)
	for {
		_, from, err := c.ReadFrom(buf)
		if err != nil {
			return
		}
		host, _, _ := net.SplitHostPort(from.String())
		_, _ = c.WriteTo(fmt.Appendf(nil, "%s %s", name, host), from)
	}
}

// Ask sends a request from a namespace and returns the answer of Serve.
func Ask(ns, network, address string) (string, error) {
	var conn net.Conn
	err := netns.Do(ns, func() (err error) {
		conn, err = net.DialTimeout(network, address, patience)
		return err
	})
	if err != nil {
		return "", err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := conn.Write([]byte("hello")); err != nil {
		return "", err
	}
	buf := make([]byte, 256)
	n, err := conn.Read(buf)
	return string(buf[:n]), err
}

// Expect asks and fails the test unless the answer is the wanted one.
func Expect(t testing.TB, ns, network, address, want string) {
	t.Helper()
	got, err := Ask(ns, network, address)
	if err != nil || got != want {
		t.Errorf("%s %s answered %q, %v; want %q", network, address, got, err, want)
	}
}
