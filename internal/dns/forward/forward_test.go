// SPDX-License-Identifier: Apache-2.0

package forward

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	mdns "github.com/miekg/dns"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is an upstream server whose answers a test writes.
type fake struct {
	addr  netip.AddrPort
	asked atomic.Int32
}

// startFake serves handle on a free port over UDP and TCP until the test ends.
func startFake(t *testing.T, handle func(w mdns.ResponseWriter, q *mdns.Msg)) *fake {
	t.Helper()
	return startFakeAt(t, "127.0.0.1:0", handle)
}

func startFakeAt(t *testing.T, address string, handle func(w mdns.ResponseWriter, q *mdns.Msg)) *fake {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	p, err := net.ListenPacket("udp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{addr: l.Addr().(*net.TCPAddr).AddrPort()}
	h := mdns.HandlerFunc(func(w mdns.ResponseWriter, q *mdns.Msg) {
		f.asked.Add(1)
		handle(w, q)
	})
	for _, s := range []*mdns.Server{{Listener: l, Handler: h}, {PacketConn: p, Handler: h}} {
		started := make(chan struct{})
		s.NotifyStartedFunc = func() { close(started) }
		go func() { _ = s.ActivateAndServe() }()
		<-started
		t.Cleanup(func() { _ = s.Shutdown() })
	}
	return f
}

func record(text string) mdns.RR {
	rr, err := mdns.NewRR(text)
	if err != nil {
		panic(err)
	}
	return rr
}

// says answers every question with these records.
func says(texts ...string) func(mdns.ResponseWriter, *mdns.Msg) {
	return func(w mdns.ResponseWriter, q *mdns.Msg) {
		m := new(mdns.Msg).SetReply(q)
		for _, text := range texts {
			m.Answer = append(m.Answer, record(text))
		}
		_ = w.WriteMsg(m)
	}
}

func silent(mdns.ResponseWriter, *mdns.Msg) {}

func fails(w mdns.ResponseWriter, q *mdns.Msg) {
	_ = w.WriteMsg(new(mdns.Msg).SetRcode(q, mdns.RcodeServerFailure))
}

// dead is an address where nobody listens.
func dead(t *testing.T) netip.AddrPort {
	t.Helper()
	p, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	return p.LocalAddr().(*net.UDPAddr).AddrPort()
}

func answerOf(t *testing.T, f *Forwarder) string {
	t.Helper()
	m, err := f.Exchange(context.Background(), new(mdns.Msg).SetQuestion("a.example.", mdns.TypeA))
	if err != nil {
		return err.Error()
	}
	var texts []string
	for _, rr := range m.Answer {
		texts = append(texts, strings.Join(strings.Fields(rr.String()), " "))
	}
	return mdns.RcodeToString[m.Rcode] + " " + strings.Join(texts, ", ")
}

func TestExchange(t *testing.T) {
	const good = "a.example. 60 IN A 192.0.2.1"
	right := startFake(t, says(good)).addr
	cut := func(w mdns.ResponseWriter, q *mdns.Msg) {
		if w.LocalAddr().Network() == "udp" {
			_ = w.WriteMsg(&mdns.Msg{MsgHdr: mdns.MsgHdr{Id: q.Id, Response: true, Truncated: true}, Question: q.Question})
			return
		}
		says(good)(w, q)
	}
	liar := func(w mdns.ResponseWriter, q *mdns.Msg) {
		wrong := new(mdns.Msg).SetReply(q)
		wrong.Answer = []mdns.RR{record("a.example. 60 IN A 192.0.2.66")}
		wrong.Id++
		_ = w.WriteMsg(wrong)
		wrong.Id--
		wrong.Question = []mdns.Question{{Name: "b.example.", Qtype: mdns.TypeA, Qclass: mdns.ClassINET}}
		_ = w.WriteMsg(wrong)
		says(good)(w, q)
	}
	tests := []struct {
		name      string
		upstreams []Server
		want      string
	}{
		{"one good", Plain(right), "NOERROR " + good},
		{"truncated, then TCP", Plain(startFake(t, cut).addr), "NOERROR " + good},
		{"wrong id and wrong question are passed over", Plain(startFake(t, liar).addr), "NOERROR " + good},
		{"nobody there, then good", Plain(dead(t), right), "NOERROR " + good},
		{"silent, then good", Plain(startFake(t, silent).addr, right), "NOERROR " + good},
		{"slow, then failing", Plain(startFake(t, func(w mdns.ResponseWriter, q *mdns.Msg) {
			time.Sleep(600 * time.Millisecond) // the next one is asked meanwhile, and is of no help
			says(good)(w, q)
		}).addr, startFake(t, fails).addr), "NOERROR " + good},
		{"failing, then good", Plain(startFake(t, fails).addr, right), "NOERROR " + good},
		{"all failing", Plain(startFake(t, fails).addr), "SERVFAIL "},
		{"records about others are dropped", Plain(startFake(t, says(
			"a.example. 60 IN CNAME b.example.", "b.example. 60 IN A 192.0.2.2", "bank.example. 60 IN A 192.0.2.66")).addr),
			"NOERROR a.example. 60 IN CNAME b.example., b.example. 60 IN A 192.0.2.2"},
		{"no server", nil, ErrNoUpstream.Error()},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := answerOf(t, New(Config{Upstreams: tt.upstreams})); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}

func TestExchangeEndsWhenNobodyAnswers(t *testing.T) {
	f := New(Config{Upstreams: Plain(startFake(t, silent).addr), Timeout: 200 * time.Millisecond})
	_, err := f.Exchange(context.Background(), new(mdns.Msg).SetQuestion("a.example.", mdns.TypeA))
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestFailedServerIsAskedLast(t *testing.T) {
	bad, right := startFake(t, silent), startFake(t, says("a.example. 60 IN A 192.0.2.1"))
	f := New(Config{Upstreams: Plain(bad.addr, right.addr)})
	for range failuresUntilDown {
		answerOf(t, f)
		(*f.upstreams.Load())[0].mu.Lock()
		(*f.upstreams.Load())[0].failures = failuresUntilDown
		(*f.upstreams.Load())[0].mu.Unlock()
	}
	before := bad.asked.Load()
	for range 20 {
		answerOf(t, f)
	}
	if after := bad.asked.Load(); after-before > 3 {
		t.Errorf("a server that is down was asked %d times in 20 questions", after-before)
	}
}

func TestServerIsAskedAgainWhenItRecovers(t *testing.T) {
	var broken atomic.Bool
	broken.Store(true)
	u := startFake(t, func(w mdns.ResponseWriter, q *mdns.Msg) {
		if !broken.Load() {
			says()(w, q)
		}
	})
	f := New(Config{Upstreams: Plain(u.addr)})
	server := (*f.upstreams.Load())[0]
	server.failures = failuresUntilDown
	broken.Store(false)
	f.retryDown(context.Background())
	if server.down() {
		t.Error("still down after it answered")
	}
}

func TestLoopIsFoundAndLeft(t *testing.T) {
	var asked atomic.Pointer[Forwarder]
	loop := startFake(t, func(w mdns.ResponseWriter, q *mdns.Msg) { // stands for a server that forwards to us
		asked.Load().Probe(q.Question[0].Name, q.Question[0].Qtype)
		_ = w.WriteMsg(new(mdns.Msg).SetRcode(q, mdns.RcodeRefused))
	})
	right := startFake(t, says())
	f := New(Config{Upstreams: Plain(loop.addr, right.addr)})
	asked.Store(f)
	f.findLoops(context.Background())
	if diff := cmp.Diff(Plain(right.addr), f.Upstreams(), cmp.Comparer(func(a, b Server) bool { return a == b })); diff != "" {
		t.Errorf("upstreams (-want +got):\n%s", diff)
	}
}

func TestResolvConf(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	write := func(text string, age time.Duration) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		when := time.Now().Add(-age)
		if err := os.Chtimes(path, when, when); err != nil {
			t.Fatal(err)
		}
	}
	self := netip.MustParseAddrPort("10.96.0.10:53")
	f := New(Config{ResolvConf: path, Self: func() []netip.AddrPort { return []netip.AddrPort{self} }})
	steps := []struct{ text, want string }{
		{"", ""},
		{"# comment\nsearch x\nnameserver 127.0.0.53\noptions edns0\nnameserver bad\nnameserver 10.96.0.10\n", "127.0.0.53:53"},
		{"nameserver 192.0.2.1\nnameserver 2001:db8::1\nnameserver 192.0.2.1\n", "192.0.2.1:53 [2001:db8::1]:53"},
		{"", "192.0.2.1:53 [2001:db8::1]:53"},
		{"nameserver 192.0.2.2", "192.0.2.2:53"},
	}
	for i, step := range steps {
		write(step.text, time.Duration(100-i)*time.Second)
		f.reload()
		var got []string
		for _, a := range f.Upstreams() {
			got = append(got, a.String())
		}
		if want := strings.Fields(step.want); !slices.Equal(got, want) {
			t.Errorf("step %d: got %v, want %v", i, got, want)
		}
	}
}

// Whoever names servers does not want others to be asked, however fast they are; the search path counts all the same.
func TestGivenServersAreAskedInPlaceOfThoseOfResolvConf(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(path, []byte("nameserver 192.0.2.1\nsearch corp.example\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	given, theirs := netip.MustParseAddrPort("192.0.2.7:53"), netip.MustParseAddrPort("192.0.2.1:53")
	f := New(Config{ResolvConf: path})
	for _, step := range []struct{ given, want []Server }{{nil, Plain(theirs)}, {Plain(given), Plain(given)}, {nil, Plain(theirs)}} {
		f.SetUpstreams(step.given, Fastest)
		if got := f.Upstreams(); !slices.Equal(got, step.want) {
			t.Errorf("with %v given, %v are asked", step.given, got)
		}
		if got := f.Search(); !slices.Equal(got, []string{"corp.example"}) && !slices.Equal(got, []string{"corp.example."}) {
			t.Errorf("search path %v", got)
		}
	}
}

func FuzzParseResolvConf(f *testing.F) {
	f.Add("nameserver 127.0.0.53\nnameserver fe80::1%eth0\n")
	f.Fuzz(func(t *testing.T, text string) {
		if n := len(ParseResolvConf(strings.NewReader(text))); n > maxServers {
			t.Errorf("%d servers", n)
		}
	})
}
