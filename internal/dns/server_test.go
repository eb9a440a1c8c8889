// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"context"
	"net/netip"
	"testing"
	"time"

	mdns "github.com/miekg/dns"
	"go.uber.org/goleak"

	"eastwest/internal/table"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// startServer runs a server on a free port of the loopback interface until the test ends.
func startServer(t *testing.T, cfg ServerConfig) *Server {
	t.Helper()
	if cfg.Listen == nil {
		cfg.Listen = []string{"127.0.0.1:0"}
	}
	s, err := NewServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	return s
}

// testZone is a zone with the services of testRows.
func testZone(t testing.TB, rows ...table.Name) *Zone {
	t.Helper()
	z, err := NewZone(ZoneConfig{
		Nameservers: addrs("10.96.0.10"),
		Reverse:     []netip.Prefix{netip.MustParsePrefix("10.96.0.0/12"), netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("fd00:96::/112")},
	})
	if err != nil {
		t.Fatal(err)
	}
	set := map[string]table.Name{}
	for _, row := range rows {
		set[rowKey(row)] = row
	}
	if err := z.Apply(context.Background(), table.Table[table.Name]{}.With(set), table.Keys{All: true}); err != nil {
		t.Fatal(err)
	}
	return z
}

func rowKey(row table.Name) string {
	if row.Object.Kind == "Namespace" {
		return row.Object.Name + "/"
	}
	return row.Object.Namespace + "/" + row.Object.Name
}

func addrs(texts ...string) (out []netip.Addr) {
	for _, t := range texts {
		out = append(out, netip.MustParseAddr(t))
	}
	return out
}

func objectOf(ns, name string) table.Object {
	return table.Object{Kind: "Service", Namespace: ns, Name: name}
}

// testRows is the zone that most tests ask about.
func testRows() []table.Name {
	http := []table.NamePort{{Name: "http", Protocol: "tcp", Port: 80}, {Protocol: "tcp", Port: 8080}}
	peer := []table.NamePort{{Name: "peer", Protocol: "tcp", Port: 7000}}
	return []table.Name{
		{Object: objectOf("default", "web"), ClusterIPs: addrs("10.96.0.20"), Ports: http, TTL: 30},
		{Object: objectOf("default", "dual"), ClusterIPs: addrs("10.96.0.21", "fd00:96::21"), Ports: http[:1], TTL: 30},
		{Object: objectOf("kube-system", "kube-dns"), ClusterIPs: addrs("10.96.0.10"), TTL: 30, Ports: []table.NamePort{
			{Name: "dns", Protocol: "udp", Port: 53}, {Name: "dns-tcp", Protocol: "tcp", Port: 53}}},
		{Object: objectOf("default", "db"), Headless: true, TTL: 30, Endpoints: []table.NameEndpoint{
			{Hostname: "db-0", Addr: netip.MustParseAddr("10.244.1.5"), Ports: peer},
			{Hostname: "db-1", Addr: netip.MustParseAddr("10.244.2.5"), Ports: peer},
			{Addr: netip.MustParseAddr("10.244.2.6"), Ports: peer},
		}},
		{Object: objectOf("default", "none"), Headless: true, TTL: 30},
		{Object: objectOf("default", "inside"), ExternalName: "web.default.svc.cluster.local", TTL: 30},
		{Object: objectOf("default", "outside"), ExternalName: "www.example.com", TTL: 30},
		{Object: objectOf("default", "round"), ExternalName: "round.default.svc.cluster.local", TTL: 30},
		{Object: table.Object{Kind: "Namespace", Name: "empty"}},
	}
}

func ask(t *testing.T, network string, s *Server, name string, qtype uint16) *mdns.Msg {
	t.Helper()
	c := mdns.Client{Net: network, Timeout: 5 * time.Second}
	m, _, err := c.Exchange(new(mdns.Msg).SetQuestion(name, qtype), s.Addrs()[0].String())
	if err != nil {
		t.Fatalf("%s %s over %s: %v", name, mdns.TypeToString[qtype], network, err)
	}
	return m
}

func TestServerAnswersOverBothTransports(t *testing.T) {
	s := startServer(t, ServerConfig{Zone: testZone(t, testRows()...)})
	for _, network := range []string{"udp", "tcp"} {
		m := ask(t, network, s, "WEB.default.svc.Cluster.local.", mdns.TypeA)
		if len(m.Answer) != 1 || m.Answer[0].String() != "WEB.default.svc.Cluster.local.\t30\tIN\tA\t10.96.0.20" {
			t.Errorf("%s: got %v", network, m)
		}
	}
}
