// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"eastwest/internal/dns/forward"
	"eastwest/internal/dns/wire"
)

// upstream is a server that knows www.example.com and counts what it is asked.
type upstream struct {
	addr  netip.AddrPort
	asked atomic.Int32
}

func startUpstream(t *testing.T) *upstream {
	t.Helper()
	p, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	u := &upstream{addr: p.LocalAddr().(*net.UDPAddr).AddrPort()}
	started := make(chan struct{})
	server := &mdns.Server{PacketConn: p, NotifyStartedFunc: func() { close(started) }, Handler: mdns.HandlerFunc(u.answer)}
	go func() { _ = server.ActivateAndServe() }()
	<-started
	t.Cleanup(func() { _ = server.Shutdown() })
	return u
}

func (u *upstream) answer(w mdns.ResponseWriter, q *mdns.Msg) {
	if q.Question[0].Qtype == mdns.TypeHINFO { // the forwarder looks for loops by itself
		_ = w.WriteMsg(new(mdns.Msg).SetRcode(q, mdns.RcodeNameError))
		return
	}
	u.asked.Add(1)
	m := new(mdns.Msg).SetReply(q)
	switch name := q.Question[0].Name; {
	case name == "www.example.com." && q.Question[0].Qtype == mdns.TypeA:
		for _, a := range []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"} {
			rr, _ := mdns.NewRR(name + " 300 IN A " + a)
			m.Answer = append(m.Answer, rr)
		}
	case name == "broken.example.com.":
		m.Rcode = mdns.RcodeServerFailure
	default:
		m.Rcode = mdns.RcodeNameError
		rr, _ := mdns.NewRR("example.com. 300 IN SOA ns.example.com. host.example.com. 1 2 3 4 300")
		m.Ns = append(m.Ns, rr)
	}
	_ = w.WriteMsg(m)
}

func answers(m *mdns.Msg) string {
	var out []string
	for _, rr := range m.Answer {
		out = append(out, rrText(rr))
	}
	slices.Sort(out)
	return strings.Join(append([]string{mdns.RcodeToString[m.Rcode]}, out...), " ")
}

func TestForwardedAnswersAreCached(t *testing.T) {
	u := startUpstream(t)
	s := startServer(t, ServerConfig{Upstreams: forward.Plain(u.addr)})
	first := map[string]bool{}
	for range 20 {
		m := ask(t, "udp", s, "www.EXAMPLE.com.", mdns.TypeA)
		if got := answers(m); got != "NOERROR A 192.0.2.1 A 192.0.2.2 A 192.0.2.3" || m.Authoritative || !m.RecursionAvailable {
			t.Fatalf("got %v", m)
		}
		if got := m.Answer[0].Header().Name; got != "www.EXAMPLE.com." {
			t.Fatalf("case is lost: %s", got)
		}
		first[rrText(m.Answer[0])] = true
	}
	if n := u.asked.Load(); n != 1 {
		t.Errorf("upstream was asked %d times", n)
	}
	if len(first) != 3 {
		t.Errorf("of three addresses only %v came first", first)
	}
	for range 3 {
		if got := answers(ask(t, "tcp", s, "gone.example.com.", mdns.TypeA)); got != "NXDOMAIN" {
			t.Errorf("got %s", got)
		}
	}
	if n := u.asked.Load(); n != 2 {
		t.Errorf("upstream was asked %d times", n)
	}
	if got := answers(ask(t, "udp", s, "broken.example.com.", mdns.TypeA)); got != "SERVFAIL" {
		t.Errorf("got %s", got)
	}
}

func TestAliasesAreFollowed(t *testing.T) {
	u := startUpstream(t)
	s := startServer(t, ServerConfig{Zone: testZone(t, testRows()...), Upstreams: forward.Plain(u.addr)})
	for name, want := range map[string]string{
		"inside":  "NOERROR A 10.96.0.20 CNAME web.default.svc.cluster.local.",
		"outside": "NOERROR A 192.0.2.1 A 192.0.2.2 A 192.0.2.3 CNAME www.example.com.",
		"round":   "SERVFAIL",
	} {
		if got := answers(ask(t, "udp", s, name+".default.svc.cluster.local.", mdns.TypeA)); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
}

func TestClusterNamesNeverLeave(t *testing.T) {
	u := startUpstream(t)
	s := startServer(t, ServerConfig{Zone: testZone(t, testRows()...), Upstreams: forward.Plain(u.addr)})
	for _, name := range []string{
		"cluster.local.", "x.cluster.local.", "example.com.default.svc.cluster.local.", "_a._b.c.d.svc.cluster.local.",
		"9.9.244.10.in-addr.arpa.", "x.cluster.LOCAL.",
	} {
		for _, qtype := range []uint16{mdns.TypeA, mdns.TypePTR, mdns.TypeHTTPS, mdns.TypeANY} {
			ask(t, "udp", s, name, qtype)
		}
	}
	if n := u.asked.Load(); n != 0 {
		t.Errorf("%d questions left the cluster", n)
	}
}

func TestNoUpstreamIsServfailAtOnce(t *testing.T) {
	s := startServer(t, ServerConfig{Zone: testZone(t, testRows()...)})
	for _, name := range []string{"www.example.com.", "outside.default.svc.cluster.local."} {
		if got := answers(ask(t, "udp", s, name, mdns.TypeA)); got != "SERVFAIL" {
			t.Errorf("%s: got %s", name, got)
		}
	}
}

func TestServerIsNoOpenResolver(t *testing.T) {
	s := startServer(t, ServerConfig{Zone: testZone(t, testRows()...), Allow: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")}})
	packet, err := new(mdns.Msg).SetQuestion("web.default.svc.cluster.local.", mdns.TypeA).Pack()
	if err != nil {
		t.Fatal(err)
	}
	for client, want := range map[string]int{"10.244.3.4": mdns.RcodeSuccess, "127.0.0.1": mdns.RcodeSuccess, "::1": mdns.RcodeSuccess,
		"192.0.2.7": mdns.RcodeRefused, "2001:db8::1": mdns.RcodeRefused} {
		out, v := s.fast(&session{count: new(counters)}, packet, nil, netip.MustParseAddr(client), true, time.Now())
		var m mdns.Msg
		if err := m.Unpack(out); err != nil || v != reply || m.Rcode != want {
			t.Errorf("%s: code %d, err %v", client, m.Rcode, err)
		}
	}
}

func TestRefusals(t *testing.T) {
	s := startServer(t, ServerConfig{Zone: testZone(t, testRows()...)})
	chaos := new(mdns.Msg).SetQuestion("version.bind.", mdns.TypeTXT)
	chaos.Question[0].Qclass = mdns.ClassCHAOS
	update := new(mdns.Msg).SetUpdate("cluster.local.")
	status := new(mdns.Msg).SetQuestion("cluster.local.", mdns.TypeA).SetEdns0(4096, false)
	status.Opcode = mdns.OpcodeStatus
	tests := []struct {
		m    *mdns.Msg
		want int
	}{
		{new(mdns.Msg).SetAxfr("cluster.local."), mdns.RcodeRefused},
		{chaos, mdns.RcodeRefused},
		{update, mdns.RcodeNotImplemented},
		{status, mdns.RcodeNotImplemented},
	}
	for _, tt := range tests {
		got, _, err := (&mdns.Client{Net: "tcp"}).Exchange(tt.m, s.Addrs()[0].String())
		if err != nil || got.Rcode != tt.want {
			t.Errorf("%v: got %v, err %v", tt.m.Question, got, err)
			continue
		}
		if (tt.m.IsEdns0() != nil) != (got.IsEdns0() != nil) {
			t.Errorf("%v: an OPT record has to be answered with one: got %v", tt.m.Question, got)
		}
	}
}

func TestTCPIsPipelined(t *testing.T) {
	u := startUpstream(t)
	s := startServer(t, ServerConfig{Zone: testZone(t, testRows()...), Upstreams: forward.Plain(u.addr)})
	raw, err := net.Dial("tcp", s.Addrs()[0].String())
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	conn := &mdns.Conn{Conn: raw}
	names := []string{"www.example.com.", "web.default.svc.cluster.local.", "gone.example.com.", "db.default.svc.cluster.local."}
	want := map[uint16]string{}
	for i, name := range names {
		m := new(mdns.Msg).SetQuestion(name, mdns.TypeA)
		m.Id = uint16(i)
		want[m.Id] = name
		if err := conn.WriteMsg(m); err != nil {
			t.Fatal(err)
		}
	}
	if err := raw.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	for len(want) > 0 {
		m, err := conn.ReadMsg()
		if err != nil {
			t.Fatal(err)
		}
		if want[m.Id] != m.Question[0].Name {
			t.Errorf("reply %d is about %s", m.Id, m.Question[0].Name)
		}
		delete(want, m.Id)
	}
}

func TestQuotaKeepsShares(t *testing.T) {
	q := newQuota(3, 2)
	a, b := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	got := []bool{q.take(a), q.take(a), q.take(a), q.take(b), q.take(b)}
	if want := []bool{true, true, false, true, false}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	q.release(a)
	if !q.take(b) {
		t.Error("a place that was given back is not there")
	}
}

// TestFastPathDoesNotAllocate covers what nearly every query is.
func TestFastPathDoesNotAllocate(t *testing.T) {
	u := startUpstream(t)
	s := startServer(t, ServerConfig{Zone: testZone(t, testRows()...), Upstreams: forward.Plain(u.addr)})
	ask(t, "udp", s, "www.example.com.", mdns.TypeA)
	for _, name := range []string{"web.default.svc.cluster.local.", "db.default.svc.cluster.local.", "example.com.default.svc.cluster.local.",
		"5.1.244.10.in-addr.arpa.", "_http._tcp.web.default.svc.cluster.local.", "www.example.com.", "10-1-2-3.default.pod.cluster.local."} {
		for _, qtype := range []uint16{mdns.TypeA, mdns.TypeAAAA, mdns.TypeSRV, mdns.TypePTR} {
			if name == "www.example.com." && qtype != mdns.TypeA {
				continue // not in the cache
			}
			packet, err := new(mdns.Msg).SetQuestion(name, qtype).Pack()
			if err != nil {
				t.Fatal(err)
			}
			c, buf, client, now := &session{count: new(counters)}, make([]byte, maxUDP), netip.MustParseAddr("127.0.0.1"), time.Now()
			n := testing.AllocsPerRun(100, func() { s.fast(c, packet, buf, client, true, now) })
			if n > 0 {
				t.Errorf("%s %s: %v allocations", name, mdns.TypeToString[qtype], n)
			}
		}
	}
}

// FuzzFast: no packet breaks the server, and every reply can be read and is no longer than it may be.
func FuzzFast(f *testing.F) {
	z := testZone(f, testRows()...)
	s, err := NewServer(ServerConfig{Zone: z, Listen: []string{"127.0.0.1:0"}, Workers: 1, NamespaceOf: inDefault})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(s.Close)
	for _, name := range []string{"web.default.svc.cluster.local.", "20.0.96.10.in-addr.arpa.", "fd00--1.default.pod.cluster.local.", "www.example.com.default.svc.cluster.local."} {
		packet, err := new(mdns.Msg).SetQuestion(name, mdns.TypeSRV).SetEdns0(1400, true).Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(packet)
	}
	f.Fuzz(func(t *testing.T, packet []byte) {
		z.serviceKey(packet)
		c := &session{count: new(counters)}
		out, v := s.fast(c, packet, nil, netip.MustParseAddr("127.0.0.1"), true, time.Now())
		if v != reply {
			return
		}
		var m mdns.Msg
		if err := m.Unpack(out); err != nil {
			t.Fatalf("reply cannot be read: %v", err)
		}
		if len(out) > max(wire.MinUDP, min(int(c.query.UDPSize), maxUDP)) {
			t.Fatalf("%d bytes for a client that takes %d", len(out), c.query.UDPSize)
		}
	})
}

func BenchmarkFast(b *testing.B) {
	s, err := NewServer(ServerConfig{Zone: testZone(b, testRows()...), Listen: []string{"127.0.0.1:0"}, Workers: 1})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	for _, name := range []string{"web.default.svc.cluster.local.", "example.com.default.svc.cluster.local."} {
		packet, err := new(mdns.Msg).SetQuestion(name, mdns.TypeA).Pack()
		if err != nil {
			b.Fatal(err)
		}
		b.Run(strings.SplitN(name, ".", 2)[0], func(b *testing.B) {
			c, buf, client, now := &session{count: new(counters)}, make([]byte, maxUDP), netip.MustParseAddr("127.0.0.1"), time.Now()
			b.ReportAllocs()
			for b.Loop() {
				s.fast(c, packet, buf, client, true, now)
			}
		})
	}
}
