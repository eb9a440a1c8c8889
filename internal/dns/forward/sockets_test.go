// SPDX-License-Identifier: Apache-2.0

package forward

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"testing"

	mdns "github.com/miekg/dns"
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

// No two questions come from one port, although sockets are opened ahead.
func TestEveryQuestionHasAPortOfItsOwn(t *testing.T) {
	var mu sync.Mutex
	ports := map[string]int{}
	const good = "a.example. 60 IN A 192.0.2.1"
	u := startFake(t, func(w mdns.ResponseWriter, q *mdns.Msg) {
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
				f.Tidy()
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

// What reached a socket before its question was sent is no answer, even where it has the right id.
func TestAnswersBeforeTheQuestionAreNone(t *testing.T) {
	server, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	s := &sockets{server: server.LocalAddr().(*net.UDPAddr).AddrPort(), ahead: true, used: 1}
	defer s.close()
	s.tidy()
	if len(s.fresh) != 1 {
		t.Fatalf("%d sockets are open ahead, want one", len(s.fresh))
	}
	ahead := s.fresh[0].conn.LocalAddr().(*net.UDPAddr).AddrPort()
	if _, err := server.WriteToUDPAddrPort([]byte("forged"), ahead); err != nil {
		t.Fatal(err)
	}
	conn, err := s.take()
	if err != nil {
		t.Fatal(err)
	}
	defer s.done(conn)
	if got := conn.LocalAddr().(*net.UDPAddr).AddrPort(); got == ahead {
		t.Error("the question goes out from the port that somebody sent to before")
	}
}

// A forwarder that ended, and a server that is no longer asked, keep no sockets.
func TestEndedForwarderKeepsNoSockets(t *testing.T) {
	u := startFake(t, says("a.example. 60 IN A 192.0.2.1"))
	f := New(Config{Upstreams: Plain(u.addr)})
	f.setRunning(true)
	answerOf(t, f)
	f.Tidy()
	s := &(*f.upstreams.Load())[0].sockets
	if len(s.fresh) != 1 {
		t.Fatalf("%d sockets are open ahead, want one", len(s.fresh))
	}
	f.SetUpstreams(Plain(netip.MustParseAddrPort("127.0.0.1:1")), Fastest)
	if len(s.fresh) != 0 {
		t.Error("a server that is not asked any more has open sockets")
	}
	f.setRunning(false)
	if got := answerOf(t, f); got == "" {
		t.Error("no error")
	}
	f.Tidy()
	if kept := (*f.upstreams.Load())[0].sockets.fresh; len(kept) != 0 {
		t.Errorf("%d sockets after the end", len(kept))
	}
}
