// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	mdns "github.com/miekg/dns"
	"golang.org/x/sys/unix"
)

// Replies that go through the kernel together arrive as what they are: every client gets its own, whole, from the address
// that it asked.
func TestTrainsAreDatagrams(t *testing.T) {
	for name, tt := range map[string]struct {
		listen string
		from   string
		option func(fd int)
		alone  bool
	}{
		"one address":      {listen: "127.0.0.1:0", from: "127.0.0.1"},
		"all addresses":    {listen: ":0", from: "127.0.0.9"},
		"all, over IPv6":   {listen: ":0", from: "::1"},
		"kernel refuses":   {listen: "127.0.0.1:0", from: "127.0.0.1", option: noChecksums, alone: true},
		"refuses, from .9": {listen: "0.0.0.0:0", from: "127.0.0.9", option: noChecksums, alone: true},
	} {
		t.Run(name, func(t *testing.T) {
			opened, err := listen(t.Context(), tt.listen, 1, inherit(nil))
			if err != nil {
				t.Fatal(err)
			}
			defer opened.close()
			raw, err := opened.udp[0].SyscallConn()
			if err != nil {
				t.Fatal(err)
			}
			if tt.option != nil {
				control(t, raw, tt.option)
			}
			clients := [3]*net.UDPConn{}
			at := netip.AddrPortFrom(netip.MustParseAddr(tt.from), opened.udp[0].LocalAddr().(*net.UDPAddr).AddrPort().Port())
			for i := range clients {
				if clients[i], err = net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(at)); err != nil {
					t.Fatal(err)
				}
				defer clients[i].Close()
			}
			b := newBatch(raw)
			for range 2 {
				talk(t, b, clients)
				if whole := b.trains.n == batchSize; whole != tt.alone {
					t.Errorf("%d messages for %d replies", b.trains.n, batchSize)
				}
			}
		})
	}
}

// noChecksums is what the kernel sends no trains with.
func noChecksums(fd int) { _ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_NO_CHECK, 1) }

func control(t *testing.T, raw syscall.RawConn, f func(fd int)) {
	t.Helper()
	if err := raw.Control(func(fd uintptr) { f(int(fd)) }); err != nil {
		t.Fatal(err)
	}
}

// talk sends a full batch from all clients, replies with messages of several lengths, and compares what arrives.
func talk(t *testing.T, b *batch, clients [3]*net.UDPConn) {
	t.Helper()
	for i := range batchSize {
		if _, err := fmt.Fprintf(clients[i%len(clients)], "%d", i); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.read(); err != nil || b.received != batchSize {
		t.Fatalf("received %d of %d, err %v", b.received, batchSize, err)
	}
	for i := range b.received {
		length := 40 + i%5/3*20
		b.reply(i, append(b.replyBuffer(i)[:0], fmt.Sprintf("%-*s", length, "reply to "+string(b.packet(i)))...))
	}
	if err := b.flush(); err != nil {
		t.Fatal(err)
	}
	for c, client := range clients {
		var got, want []string
		for i := c; i < batchSize; i += len(clients) {
			want = append(want, fmt.Sprintf("%-*s", 40+i%5/3*20, fmt.Sprint("reply to ", i)))
			buf := make([]byte, 2048)
			_ = client.SetReadDeadline(time.Now().Add(5 * time.Second))
			n, err := client.Read(buf)
			if err != nil {
				t.Fatalf("client %d: reply %d: %v", c, i, err)
			}
			got = append(got, string(buf[:n]))
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("client %d got\n%s\nwant\n%s", c, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

// Of many questions that one client asks at once, each gets its own answer, in its own spelling.
func TestManyQuestionsOfOneClient(t *testing.T) {
	s := startServer(t, ServerConfig{Zone: testZone(t, testRows()...)})
	conn, err := net.Dial("udp", s.Addrs()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const questions = 150 // whose answers wait in any socket
	names := []string{"web.default.svc.cluster.local.", "WEB.default.svc.cluster.local.", "db-0.db.default.svc.cluster.local.", "no.default.svc.cluster.local."}
	for i := range questions {
		m := new(mdns.Msg).SetQuestion(names[i%len(names)], mdns.TypeA)
		m.Id = uint16(i)
		packet, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write(packet); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[uint16]bool{}
	buf := make([]byte, 2048)
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	for range questions {
		n, err := conn.Read(buf)
		if err != nil {
			t.Fatalf("after %d answers: %v", len(seen), err)
		}
		m := new(mdns.Msg)
		if err := m.Unpack(buf[:n]); err != nil {
			t.Fatal(err)
		}
		name := names[int(m.Id)%len(names)]
		if m.Question[0].Name != name || (m.Rcode == mdns.RcodeNameError) != strings.HasPrefix(name, "no.") || seen[m.Id] {
			t.Errorf("asked %s, got %v", name, m)
		}
		seen[m.Id] = true
	}
}
