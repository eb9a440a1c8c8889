// SPDX-License-Identifier: Apache-2.0

package parity

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/coredns/caddy"
	_ "github.com/coredns/coredns/plugin/forward"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	mdns "github.com/miekg/dns"

	"eastwest/internal/dns"
	"eastwest/internal/dns/forward"
	"eastwest/internal/kubelet/apidouble"
	"eastwest/internal/node"
)

// server is one that is asked, over one TCP connection: no answer is cut short there.
type server struct {
	addr string
	conn *mdns.Conn
}

func (s *server) ask(t *testing.T, q question) *mdns.Msg {
	t.Helper()
	m := new(mdns.Msg).SetQuestion(q.name, q.qtype)
	for range 2 { // an idle connection may have been closed
		if s.conn == nil {
			conn, err := mdns.DialTimeout("tcp", s.addr, 5*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			s.conn = conn
			t.Cleanup(func() { _ = conn.Close() })
		}
		if s.conn.WriteMsg(m) == nil {
			if r, err := s.conn.ReadMsg(); err == nil {
				return r
			}
		}
		s.conn = nil
	}
	t.Fatalf("%s gives no answer about %s %s", s.addr, q.name, mdns.TypeToString[q.qtype])
	return nil
}

func (w *world) serve(t *testing.T) *apidouble.Server {
	t.Helper()
	api, err := apidouble.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(api.Close)
	for resource, list := range w.objects {
		for _, o := range list {
			api.Put(resource, o)
		}
	}
	return api
}

// startUpstream runs a server that knows the names outside.
func startUpstream(t *testing.T) netip.AddrPort {
	t.Helper()
	p, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	records := map[string]string{
		"www.example.com. A": "192.0.2.1", "www.example.com. AAAA": "2001:db8::1",
		"alias.example.com. A": "CNAME", "alias.example.com. AAAA": "CNAME",
	}
	answer := func(out mdns.ResponseWriter, q *mdns.Msg) {
		m := new(mdns.Msg).SetReply(q)
		name := q.Question[0].Name
		add := func(text string) {
			if rr, err := mdns.NewRR(text); err == nil {
				m.Answer = append(m.Answer, rr)
			}
		}
		key := mdns.CanonicalName(name) + " " + mdns.TypeToString[q.Question[0].Qtype]
		switch data := records[key]; {
		case data == "CNAME":
			add(name + " 30 IN CNAME www.example.com.")
			kind := mdns.TypeToString[q.Question[0].Qtype]
			add("www.example.com. 30 IN " + kind + " " + records["www.example.com. "+kind])
		case data != "":
			add(name + " 30 IN " + mdns.TypeToString[q.Question[0].Qtype] + " " + data)
		case mdns.CanonicalName(name) != "www.example.com." && mdns.CanonicalName(name) != "alias.example.com.":
			m.Rcode = mdns.RcodeNameError
		}
		_ = out.WriteMsg(m)
	}
	addr := p.LocalAddr().(*net.UDPAddr).AddrPort()
	l, err := net.Listen("tcp", addr.String()) // CoreDNS forwards over the transport that it was asked over
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*mdns.Server{{PacketConn: p}, {Listener: l}} {
		s.Handler = mdns.HandlerFunc(answer)
		go func() { _ = s.ActivateAndServe() }()
		t.Cleanup(func() { _ = s.Shutdown() })
	}
	return addr
}

func startCoreDNS(t *testing.T, api *apidouble.Server, upstream netip.AddrPort, pods string) *server {
	t.Helper()
	corefile := fmt.Sprintf(`.:0 {
	kubernetes cluster.local in-addr.arpa ip6.arpa {
		endpoint %s
		pods %s
		ttl 30
	}
	forward . %s
}
`, api.Client.Config().Host, pods, upstream)
	caddy.Quiet = true
	instance, err := caddy.Start(caddy.CaddyfileInput{Contents: []byte(corefile), Filepath: "Corefile", ServerTypeName: "dns"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = instance.ShutdownCallbacks() // its watches would keep the API server from closing
		_ = instance.Stop()
	})
	for _, l := range instance.Servers() {
		if a, ok := l.Addr().(*net.TCPAddr); ok {
			return &server{addr: fmt.Sprint("127.0.0.1:", a.Port)}
		}
	}
	t.Fatal("CoreDNS listens on no TCP port")
	return nil
}

func startOurs(t *testing.T, api *apidouble.Server, upstream netip.AddrPort, pods string) *server {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	zone, err := dns.NewZone(dns.ZoneConfig{Pods: dns.PodMode(pods), Reverse: []netip.Prefix{
		netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0"), // as the zones that CoreDNS is given
	}})
	if err != nil {
		t.Fatal(err)
	}
	network, err := node.NewNetwork(node.NetworkConfig{
		Client: api.Client, NodeName: "dns", Names: zone, NameTTL: 30, NoServices: true, NoRoutes: true, Pods: pods == "verified", Log: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	s, err := dns.NewServer(dns.ServerConfig{Zone: zone, Listen: []string{"127.0.0.1:0"}, Upstreams: forward.Plain(upstream), Log: log})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{}, 2)
	go func() { _ = network.Run(ctx); done <- struct{}{} }()
	go func() { _ = s.Run(ctx); done <- struct{}{} }()
	t.Cleanup(func() { cancel(); <-done; <-done })
	if err := network.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
	return &server{addr: s.Addrs()[0].String()}
}
