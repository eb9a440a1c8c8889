// SPDX-License-Identifier: Apache-2.0

package forward

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	mdns "github.com/miekg/dns"
	"golang.org/x/sys/unix"
)

// running is a forwarder that keeps sockets ahead until the test ends.
func running(t *testing.T, servers ...Server) *Forwarder {
	t.Helper()
	f := New(Config{Upstreams: servers})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	f.setRunning(true) // before Run gets to it
	go func() { done <- f.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return f
}

// No two questions come from one port, although sockets are used again and again.
func TestEveryQuestionHasAPortOfItsOwn(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		t.Run(address, func(t *testing.T) { everyQuestionHasAPort(t, address) })
	}
}

func everyQuestionHasAPort(t *testing.T, address string) {
	var mu sync.Mutex
	ports := map[string]int{}
	const good = "a.example. 60 IN A 192.0.2.1"
	u := startFakeAt(t, address, func(w mdns.ResponseWriter, q *mdns.Msg) {
		if q.Question[0].Name == "a.example." {
			mu.Lock()
			ports[w.RemoteAddr().String()]++
			mu.Unlock()
		}
		says(good)(w, q)
	})
	f := running(t, Plain(u.addr)...)
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 20 {
				if got := answerOf(t, f); got != "NOERROR "+good {
					t.Errorf("got %s", got)
				}
			}
		})
	}
	all.Wait()
	mu.Lock()
	defer mu.Unlock()
	if len(ports) < 75 { // a port that was closed may be chosen again
		t.Errorf("80 questions came from %d ports", len(ports))
	}
}

// What reaches a line before its question is sent is no answer, even where it has the right id, and changes its port.
func TestAnswersBeforeTheQuestionAreNone(t *testing.T) {
	server, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	ls := &lines{server: server.LocalAddr().(*net.UDPAddr).AddrPort(), keep: true}
	defer ls.stop()
	l, err := ls.take()
	if err != nil {
		t.Fatal(err)
	}
	defer l.conn.Close()
	port := func() netip.AddrPort { // conn knows the first one only
		l.mu.Lock()
		defer l.mu.Unlock()
		var at unix.Sockaddr
		if err := l.raw.Control(func(fd uintptr) { at, err = unix.Getsockname(int(fd)) }); err != nil || at == nil {
			t.Fatal(err)
		}
		return netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(at.(*unix.SockaddrInet4).Port))
	}
	before := port()
	if _, err := server.WriteToUDPAddrPort([]byte("forged"), netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), before.Port())); err != nil {
		t.Fatal(err)
	}
	for range 500 {
		if port() != before {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("the question would go out from the port that somebody sent to before")
}

// A forwarder that ended, and a server that is no longer asked, keep no sockets.
func TestEndedForwarderKeepsNoSockets(t *testing.T) {
	u := startFake(t, says("a.example. 60 IN A 192.0.2.1"))
	f := New(Config{Upstreams: Plain(u.addr)})
	f.setRunning(true)
	answerOf(t, f)
	kept := func(u *upstream) int {
		u.lines.mu.Lock()
		defer u.lines.mu.Unlock()
		return len(u.lines.free)
	}
	old := (*f.upstreams.Load())[0]
	for range 500 {
		if kept(old) == 1 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if got := kept(old); got != 1 {
		t.Fatalf("%d sockets are kept, want one", got)
	}
	f.SetUpstreams(Plain(netip.MustParseAddrPort("127.0.0.1:1")), Fastest)
	if got := kept(old); got != 0 {
		t.Error("a server that is not asked any more has open sockets")
	}
	f.setRunning(false)
	if got := answerOf(t, f); got == "" {
		t.Error("no error")
	}
	if got := kept((*f.upstreams.Load())[0]); got != 0 {
		t.Errorf("%d sockets after the end", got)
	}
}
