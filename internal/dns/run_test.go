// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"eastwest/internal/dns/forward"
	"eastwest/internal/kernel/socketowner"
	"eastwest/internal/table"
)

// run runs a server and returns what ends it.
func run(t *testing.T, s *Server) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	return sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
}

// While one server takes over from another, not one question is lost, though nobody asks twice.
func TestHandOverLosesNoQuestion(t *testing.T) {
	first, err := NewServer(ServerConfig{Zone: testZone(t, testRows()...), Listen: []string{"127.0.0.1:0"}})
	if err != nil {
		t.Fatal(err)
	}
	address := first.Addrs()[0].String()
	stop := run(t, first)
	defer stop()
	var lost, answered atomic.Int32
	ctx, cancel := context.WithCancel(context.Background())
	var asking sync.WaitGroup
	for range 4 {
		asking.Go(func() {
			c := mdns.Client{Timeout: 5 * time.Second} // every question from a port of its own
			for ctx.Err() == nil {
				m, _, err := c.Exchange(new(mdns.Msg).SetQuestion("web.default.svc.cluster.local.", mdns.TypeA), address)
				if err != nil || answers(m) != webAnswer {
					lost.Add(1)
				}
				answered.Add(1)
			}
		})
	}
	more := func() {
		for before := answered.Load(); answered.Load() < before+50; {
			time.Sleep(time.Millisecond)
		}
	}
	for range 5 {
		more()
		next, err := NewServer(ServerConfig{Zone: testZone(t, testRows()...), Listen: []string{address}})
		if err != nil {
			t.Fatal(err)
		}
		stopNext := run(t, next)
		defer stopNext()
		more()
		stop()
		stop = stopNext
	}
	more()
	cancel()
	asking.Wait()
	if n := lost.Load(); n > 0 {
		t.Errorf("%d of %d questions were lost", n, answered.Load())
	}
}

// What waits for an upstream when the server is told to end is answered still.
func TestEndWaitsForUpstreams(t *testing.T) {
	asked, answer := make(chan struct{}, 10), make(chan struct{})
	p, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	started := make(chan struct{})
	slow := &mdns.Server{PacketConn: p, NotifyStartedFunc: func() { close(started) }, Handler: mdns.HandlerFunc(func(w mdns.ResponseWriter, q *mdns.Msg) {
		if q.Question[0].Qtype != mdns.TypeHINFO {
			asked <- struct{}{}
			<-answer
		}
		_ = w.WriteMsg(new(mdns.Msg).SetRcode(q, mdns.RcodeNameError))
	})}
	go func() { _ = slow.ActivateAndServe() }()
	<-started
	defer func() { _ = slow.Shutdown() }()
	for _, network := range []string{"udp", "tcp"} {
		s, err := NewServer(ServerConfig{Listen: []string{"127.0.0.1:0"}, Upstreams: forward.Plain(p.LocalAddr().(*net.UDPAddr).AddrPort())})
		if err != nil {
			t.Fatal(err)
		}
		stop := run(t, s)
		got := make(chan string, 1)
		go func() {
			c := mdns.Client{Net: network, Timeout: 5 * time.Second}
			m, _, err := c.Exchange(new(mdns.Msg).SetQuestion("www.example.com.", mdns.TypeA), s.Addrs()[0].String())
			if err != nil {
				got <- err.Error()
				return
			}
			got <- answers(m)
		}()
		<-asked
		ended := make(chan struct{})
		go func() { stop(); close(ended) }()
		time.Sleep(5 * settleTime)
		answer <- struct{}{}
		if g := <-got; g != "NXDOMAIN" {
			t.Errorf("%s: got %s", network, g)
		}
		<-ended
	}
	close(answer)
}

func TestAwaitTurn(t *testing.T) {
	first := startServer(t, ServerConfig{Zone: testZone(t, testRows()...)})
	addresses := []string{first.Addrs()[0].String()}
	zone, err := NewZone(ZoneConfig{})
	if err != nil {
		t.Fatal(err)
	}
	nobody := func(string, []socketowner.Owner) { t.Error("somebody else is there") }
	AwaitTurn(t.Context(), zone, []string{"127.0.0.1:0", "127.0.0.2:1"}, nobody) // returns at once
	told, turn := make(chan string, 1), make(chan struct{})
	go func() {
		AwaitTurn(t.Context(), zone, addresses, func(address string, _ []socketowner.Owner) { told <- address })
		close(turn)
	}()
	if got := <-told; got != addresses[0] {
		t.Errorf("told about %s", got)
	}
	select {
	case <-turn:
		t.Error("began before the zone could answer")
	case <-time.After(50 * time.Millisecond):
	}
	if err := zone.Apply(t.Context(), table.Table[table.Name]{}, table.Keys{All: true}); err != nil {
		t.Fatal(err)
	}
	<-turn
}

// An address that another program has is an error that names the program.
func TestTakenAddressSaysByWhom(t *testing.T) {
	for _, network := range []string{"udp", "tcp"} {
		var file *os.File
		var at netip.AddrPort
		if network == "udp" {
			p, err := net.ListenPacket(network, "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			at = p.LocalAddr().(*net.UDPAddr).AddrPort()
			file, _ = p.(*net.UDPConn).File()
		} else {
			l, err := net.Listen(network, "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			at = l.Addr().(*net.TCPAddr).AddrPort()
			file, _ = l.(*net.TCPListener).File()
		}
		child := exec.Command("sleep", "60")
		child.ExtraFiles = []*os.File{file}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		_ = file.Close()
		_, err := NewServer(ServerConfig{Listen: []string{at.String()}})
		want := fmt.Sprintf("listen for dns on %s: pid %d (sleep) has it over %s", at, child.Process.Pid, network)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
		_ = child.Process.Kill()
		_ = child.Wait()
	}
}

// A server that is killed, and whose sockets another process has as well, loses no question that reaches them before the
// next one serves; nobody asks twice.
func TestQuestionsWaitInInheritedSockets(t *testing.T) {
	first, err := NewServer(ServerConfig{Zone: testZone(t, testRows()...), Listen: []string{"127.0.0.1:0"}})
	if err != nil {
		t.Fatal(err)
	}
	address := first.Addrs()[0].String()
	var kept []*os.File
	for _, socket := range first.Sockets() {
		f, err := socket.(interface{ File() (*os.File, error) }).File()
		if err != nil {
			t.Fatal(err)
		}
		kept = append(kept, f)
	}
	first.Keep(true)
	stop := run(t, first)
	if got := answers(ask(t, "udp", first, "web.default.svc.cluster.local.", mdns.TypeA)); got != webAnswer {
		t.Fatalf("got %s", got)
	}
	stop()
	var asking sync.WaitGroup
	var sent atomic.Int32
	for _, network := range []string{"udp", "udp", "udp", "tcp"} {
		asking.Go(func() {
			conn, err := net.Dial(network, address)
			if err != nil {
				t.Errorf("%s: %v", network, err)
				return
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
			c := &mdns.Conn{Conn: conn}
			if err := c.WriteMsg(new(mdns.Msg).SetQuestion("web.default.svc.cluster.local.", mdns.TypeA)); err != nil {
				t.Errorf("%s: %v", network, err)
			}
			sent.Add(1)
			if m, err := c.ReadMsg(); err != nil || answers(m) != webAnswer {
				t.Errorf("%s: got %v, err %v", network, m, err)
			}
		})
	}
	for range 500 {
		if sent.Load() == 4 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	next, err := NewServer(ServerConfig{Zone: testZone(t, testRows()...), Listen: []string{address}, Inherited: kept})
	if err != nil {
		t.Fatal(err)
	}
	defer run(t, next)()
	asking.Wait()
}
