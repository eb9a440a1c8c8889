// SPDX-License-Identifier: Apache-2.0

package forward

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	mdns "github.com/miekg/dns"
)

// secureFake is a server over TLS whose certificate is for example.com and 127.0.0.1, and the authority that vouches for it.
func secureFake(t *testing.T, connections *atomic.Int32) (netip.AddrPort, *x509.CertPool) {
	t.Helper()
	web := httptest.NewTLSServer(nil) // for its certificate
	certificate, roots := web.TLS.Certificates[0], x509.NewCertPool()
	roots.AddCert(web.Certificate())
	web.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().(*net.TCPAddr).AddrPort()
	started := make(chan struct{})
	s := &mdns.Server{
		Listener: tls.NewListener(counting{l, connections}, &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}),
		Handler:  mdns.HandlerFunc(says("a.example. 60 IN A 192.0.2.1")), NotifyStartedFunc: func() { close(started) },
	}
	go func() { _ = s.ActivateAndServe() }()
	<-started
	t.Cleanup(func() { _ = s.Shutdown() })
	return addr, roots
}

// counting counts the connections of a listener.
type counting struct {
	net.Listener
	n *atomic.Int32
}

func (c counting) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err == nil {
		c.n.Add(1)
	}
	return conn, err
}

func TestServersOverTLS(t *testing.T) {
	var connections atomic.Int32
	addr, roots := secureFake(t, &connections)
	for _, tt := range []struct {
		what   string
		server Server
		roots  *x509.CertPool
		good   bool
	}{
		{"by its address", Server{Addr: addr, TLS: true}, roots, true},
		{"by its name", Server{Addr: addr, TLS: true, Name: "example.com"}, roots, true},
		{"under another's name", Server{Addr: addr, TLS: true, Name: "other.test"}, roots, false},
		{"with nobody who vouches for it", Server{Addr: addr, TLS: true}, x509.NewCertPool(), false},
	} {
		connections.Store(0)
		f := New(Config{Upstreams: []Server{tt.server}, Roots: tt.roots})
		for range 5 {
			if got := answerOf(t, f); (got == "NOERROR a.example. 60 IN A 192.0.2.1") != tt.good {
				t.Errorf("%s: got %s", tt.what, got)
			}
		}
		if n := connections.Load(); tt.good && n != 1 {
			t.Errorf("%s: %d connections for five questions", tt.what, n)
		}
		f.SetUpstreams(Plain(dead(t)), Fastest) // closes what is kept
	}
}

// A connection that the server closed meanwhile is no failure.
func TestClosedConnectionsAreMadeAnew(t *testing.T) {
	var connections atomic.Int32
	addr, roots := secureFake(t, &connections)
	f := New(Config{Upstreams: []Server{{Addr: addr, TLS: true}}, Roots: roots})
	for range 3 {
		if got := answerOf(t, f); got != "NOERROR a.example. 60 IN A 192.0.2.1" {
			t.Errorf("got %s", got)
		}
		for _, kept := range (*f.upstreams.Load())[0].secure.idle {
			_ = kept.conn.NetConn().Close()
		}
	}
	if n := connections.Load(); n != 3 {
		t.Errorf("%d connections", n)
	}
}

func TestPolicies(t *testing.T) {
	for policy, want := range map[Policy]string{Fastest: "2 2 2", Sequential: "1 1 1", RoundRobin: "2 1 2"} {
		first, second := startFake(t, says("a.example. 60 IN A 192.0.2.1")), startFake(t, says("a.example. 60 IN A 192.0.2.2"))
		f := New(Config{Upstreams: Plain(first.addr, second.addr), Policy: policy})
		servers := *f.upstreams.Load()
		servers[0].rtt, servers[1].rtt = 1000, 10
		var got []string
		for range 3 {
			answer := answerOf(t, f)
			got = append(got, answer[len(answer)-1:])
			servers[0].rtt, servers[1].rtt = 1000, 10
		}
		if got := strings.Join(got, " "); got != want {
			t.Errorf("%s: got %s, want %s", policy, got, want)
		}
	}
}

func TestParallelAsksAllAtOnce(t *testing.T) {
	var asked sync.WaitGroup
	asked.Add(2)
	wait := func(w mdns.ResponseWriter, q *mdns.Msg) {
		asked.Done()
		asked.Wait() // answers when the other was asked too
		says("a.example. 60 IN A 192.0.2.1")(w, q)
	}
	f := New(Config{Upstreams: Plain(startFake(t, wait).addr, startFake(t, wait).addr), Policy: Parallel, Timeout: 700 * time.Millisecond})
	for _, u := range *f.upstreams.Load() {
		u.rtt = time.Second // another one would be asked late
	}
	if _, err := f.Exchange(context.Background(), new(mdns.Msg).SetQuestion("a.example.", mdns.TypeA)); err != nil {
		t.Error(err)
	}
}

func TestParseServer(t *testing.T) {
	for text, want := range map[string]string{
		"192.0.2.1": "192.0.2.1:53", "2001:db8::1": "[2001:db8::1]:53", "192.0.2.1:5353": "192.0.2.1:5353", "dns://192.0.2.1": "192.0.2.1:53",
		"tls://192.0.2.1": "tls://192.0.2.1:853", "tls://192.0.2.1#dns.example": "tls://192.0.2.1:853#dns.example", "tls://[2001:db8::1]:8853#a": "tls://[2001:db8::1]:8853#a",
		"dns.example": "", "": "", "tls://": "", "https://192.0.2.1": "",
	} {
		got, err := ParseServer(text)
		if (err == nil) != (want != "") || err == nil && got.String() != want {
			t.Errorf("%q: got %s, err %v", text, got, err)
		}
	}
}
