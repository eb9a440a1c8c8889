// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"bytes"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"eastwest/internal/dns/config"
	"eastwest/internal/dns/forward"
	"eastwest/internal/table"
)

// flaky knows one address, for a second, until it is broken.
type flaky struct {
	addr   netip.AddrPort
	broken atomic.Bool
	asked  atomic.Int32
}

func startFlaky(t *testing.T) *flaky {
	t.Helper()
	p, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f, started := &flaky{addr: p.LocalAddr().(*net.UDPAddr).AddrPort()}, make(chan struct{})
	server := &mdns.Server{PacketConn: p, NotifyStartedFunc: func() { close(started) }, Handler: mdns.HandlerFunc(func(w mdns.ResponseWriter, q *mdns.Msg) {
		m := new(mdns.Msg).SetReply(q)
		switch {
		case q.Question[0].Qtype == mdns.TypeHINFO:
			m.Rcode = mdns.RcodeNameError
		case f.broken.Load():
			m.Rcode = mdns.RcodeServerFailure
		default:
			f.asked.Add(1)
			rr, _ := mdns.NewRR(q.Question[0].Name + " 1 IN A 192.0.2.1")
			m.Answer = append(m.Answer, rr)
		}
		_ = w.WriteMsg(m)
	})}
	go func() { _ = server.ActivateAndServe() }()
	<-started
	t.Cleanup(func() { _ = server.Shutdown() })
	return f
}

// While no upstream answers, an expired answer is given, with a TTL that has the client ask again soon.
func TestExpiredAnswersHelpOut(t *testing.T) {
	f := startFlaky(t)
	helps := startServer(t, ServerConfig{Upstreams: forward.Plain(f.addr)})
	helpsNot := startServer(t, ServerConfig{Upstreams: forward.Plain(f.addr), StaleFor: -1})
	for _, s := range []*Server{helps, helpsNot} {
		if got := answers(ask(t, "udp", s, "www.example.com.", mdns.TypeA)); got != "NOERROR A 192.0.2.1" {
			t.Fatalf("got %s", got)
		}
	}
	f.broken.Store(true)
	time.Sleep(1100 * time.Millisecond)
	if m := ask(t, "udp", helps, "www.example.com.", mdns.TypeA); answers(m) != "NOERROR A 192.0.2.1" || m.Answer[0].Header().Ttl != 1 {
		t.Errorf("got %v", m)
	}
	if got := answers(ask(t, "udp", helps, "other.example.com.", mdns.TypeA)); got != "SERVFAIL" {
		t.Errorf("a name that was never known: got %s", got)
	}
	if got := answers(ask(t, "udp", helpsNot, "www.example.com.", mdns.TypeA)); got != "SERVFAIL" {
		t.Errorf("with stale answers turned off: got %s", got)
	}
}

// An answer that is in use is fetched anew before it expires, and nobody waits for that.
func TestAnswersInUseAreFetchedBeforeTheyExpire(t *testing.T) {
	f := startFlaky(t)
	s := startServer(t, ServerConfig{Upstreams: forward.Plain(f.addr)})
	ask(t, "udp", s, "www.example.com.", mdns.TypeA)
	packet, err := new(mdns.Msg).SetQuestion("www.example.com.", mdns.TypeA).Pack()
	if err != nil {
		t.Fatal(err)
	}
	soon := time.Now().Add(950 * time.Millisecond)
	for range 4 {
		if _, v := s.fast(&session{count: new(counters)}, packet, nil, netip.MustParseAddr("127.0.0.1"), true, soon); v != reply {
			t.Error("a client waits")
		}
	}
	for range 500 {
		if f.asked.Load() == 2 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("upstream was asked %d times", f.asked.Load())
}

// lines is a log that can be read while it is written.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.buf.Reset()
	return l.buf.String()
}

func TestQueryLog(t *testing.T) {
	f, log := startFlaky(t), new(lines)
	f.broken.Store(true)
	s := startServer(t, ServerConfig{Zone: testZone(t, testRows()...), Upstreams: forward.Plain(f.addr), Log: slog.New(slog.NewTextHandler(log, nil))})
	const (
		good = `msg="dns query" client=127.0.0.1 name=web.default.svc.cluster.local. type=A rcode=NOERROR`
		bad  = `msg="dns query" client=127.0.0.1 name=www.example.com. type=AAAA rcode=SERVFAIL`
	)
	for level, want := range map[string][2]bool{"": {false, false}, "none": {false, false}, "errors": {false, true}, "all": {true, true}} {
		s.Configure(config.Config{QueryLog: level})
		log.take()
		ask(t, "udp", s, "web.default.svc.cluster.local.", mdns.TypeA)
		ask(t, "tcp", s, "www.example.com.", mdns.TypeAAAA)
		got := log.take()
		if strings.Contains(got, good) != want[0] || strings.Contains(got, bad) != want[1] {
			t.Errorf("%q: log\n%s", level, got)
		}
	}
}

// Names of rows are found however they are spelt.
func TestRowsAreReadInAnyCase(t *testing.T) {
	row := table.Name{Object: objectOf("default", "mixed"), Headless: true, TTL: 30, Endpoints: []table.NameEndpoint{
		{Hostname: "Host-A", Addr: addrs("10.244.3.1")[0], Ports: []table.NamePort{{Name: "Web", Protocol: "TCP", Port: 80}}},
		{Hostname: "Host-B", Addr: addrs("::ffff:10.244.3.2")[0]},
	}}
	given := table.NameEndpoint(row.Endpoints[0])
	s := startServer(t, ServerConfig{Zone: testZone(t, row)})
	for name, want := range map[string]string{
		"hoSt-a.mixed.default.svc.cluster.local.": "NOERROR A 10.244.3.1", "host-b.mixed.default.svc.cluster.local.": "NOERROR A 10.244.3.2",
	} {
		if got := answers(ask(t, "udp", s, name, mdns.TypeA)); got != want {
			t.Errorf("%s: got %s", name, got)
		}
	}
	if m := ask(t, "udp", s, "_web._tcp.mixed.default.svc.cluster.local.", mdns.TypeSRV); len(m.Answer) != 1 {
		t.Errorf("got %v", m)
	}
	if row.Endpoints[0].Hostname != given.Hostname {
		t.Error("the row was changed, which is not ours")
	}
}
