// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"eastwest/internal/dns/config"
	"eastwest/internal/dns/forward"
	"eastwest/internal/table"
)

// inDefault takes every client for a pod of the namespace default.
func inDefault(netip.Addr) string { return "default" }

const wwwAnswer = "NOERROR A 192.0.2.1 A 192.0.2.2 A 192.0.2.3 CNAME www.example.com."

func TestSearchPathIsOneRoundTrip(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		asked      int32 // upstream
	}{
		{"www.example.com.default.svc.cluster.local.", wwwAnswer, 1},
		{"WWW.example.com.DEFAULT.svc.cluster.local.", wwwAnswer, 1},
		{"kube-dns.kube-system.default.svc.cluster.local.", "NOERROR A 10.96.0.10 CNAME kube-dns.kube-system.svc.cluster.local.", 0},
		{"web.default.svc.default.svc.cluster.local.", "NOERROR A 10.96.0.20 CNAME web.default.svc.cluster.local.", 0},
		{"web.default.svc.cluster.local.default.svc.cluster.local.", "NOERROR A 10.96.0.20 CNAME web.default.svc.cluster.local.", 0},
		{"inside.default.default.svc.cluster.local.", "NOERROR A 10.96.0.20 CNAME inside.default.svc.cluster.local. CNAME web.default.svc.cluster.local.", 0},
		{"web.default.svc.cluster.local.", "NOERROR A 10.96.0.20", 0},
		{"gone.example.com.default.svc.cluster.local.", "NXDOMAIN", 1},
		{"broken.example.com.default.svc.cluster.local.", "NXDOMAIN", 1},
		{"none.default.svc.cluster.local.", "NXDOMAIN", 0},                // of one label: nobody outside is asked
		{"www.example.com.kube-system.svc.cluster.local.", "NXDOMAIN", 0}, // not this pod's search path
		{"www.example.com.svc.cluster.local.", "NXDOMAIN", 0},
	} {
		u := startUpstream(t)
		s := startServer(t, ServerConfig{Zone: testZone(t, testRows()...), Upstreams: forward.Plain(u.addr), NamespaceOf: inDefault})
		for _, network := range []string{"udp", "tcp", "udp"} {
			if got := answers(ask(t, network, s, tt.name, mdns.TypeA)); got != tt.want {
				t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
			}
		}
		if got := u.asked.Load(); tt.asked == 0 && got != 0 || got < tt.asked {
			t.Errorf("%s: upstream was asked %d times, want %d", tt.name, got, tt.asked)
		}
	}
}

func TestSearchPathIsCached(t *testing.T) {
	u := startUpstream(t)
	s := startServer(t, ServerConfig{Zone: testZone(t, testRows()...), Upstreams: forward.Plain(u.addr), NamespaceOf: inDefault})
	const name = "www.example.com.default.svc.cluster.local."
	for range 10 {
		if m := ask(t, "udp", s, name, mdns.TypeA); answers(m) != wwwAnswer || m.Question[0].Name != name {
			t.Fatalf("got %v", m)
		}
		ask(t, "udp", s, "gone.example.com.default.svc.cluster.local.", mdns.TypeA)
	}
	if got := u.asked.Load(); got != 2 {
		t.Errorf("upstream was asked %d times", got)
	}
	packet, err := new(mdns.Msg).SetQuestion(name, mdns.TypeA).Pack()
	if err != nil {
		t.Fatal(err)
	}
	c, buf, now := &session{count: new(counters)}, make([]byte, maxUDP), time.Now()
	if n := testing.AllocsPerRun(100, func() { s.fast(c, packet, buf, netip.MustParseAddr("127.0.0.1"), true, now) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
	// A name of the cluster that is made later comes first all the same.
	row := table.Name{Object: objectOf("com", "example"), ClusterIPs: addrs("10.96.0.99"), TTL: 30, Endpoints: []table.NameEndpoint{{Hostname: "www", Addr: addrs("10.244.1.9")[0]}}}
	rows := table.Table[table.Name]{}.With(map[string]table.Name{"com/example": row})
	if err := s.cfg.Zone.Apply(context.Background(), rows, table.Keys{Names: []string{"com/example"}}); err != nil {
		t.Fatal(err)
	}
	if got := answers(ask(t, "udp", s, name, mdns.TypeA)); got != "NOERROR A 10.244.1.9 CNAME www.example.com.svc.cluster.local." {
		t.Errorf("got %s", got)
	}
}

func TestSearchPathOfTheNodeComesBeforeTheName(t *testing.T) {
	u := startUpstream(t)
	file := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(file, []byte("nameserver 192.0.2.1\nsearch corp.test example.com.\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := startServer(t, ServerConfig{Zone: testZone(t, testRows()...), Upstreams: forward.Plain(u.addr), ResolvConf: file, NamespaceOf: inDefault})
	// www.test is looked for below corp.test and example.com before it is looked for itself: none exists.
	if got := answers(ask(t, "udp", s, "www.test.default.svc.cluster.local.", mdns.TypeA)); got != "NXDOMAIN" {
		t.Errorf("got %s", got)
	}
	if got := u.asked.Load(); got != 3 {
		t.Errorf("upstream was asked %d times", got)
	}
}

func TestSearchPathCanBeTurnedOff(t *testing.T) {
	u := startUpstream(t)
	s := startServer(t, ServerConfig{Zone: testZone(t, testRows()...), Upstreams: forward.Plain(u.addr), NamespaceOf: inDefault})
	off, err := config.Parse([]byte("autopath: false"))
	if err != nil {
		t.Fatal(err)
	}
	s.Configure(off)
	if got := answers(ask(t, "udp", s, "www.example.com.default.svc.cluster.local.", mdns.TypeA)); got != "NXDOMAIN" || u.asked.Load() != 0 {
		t.Errorf("got %s, %d questions upstream", got, u.asked.Load())
	}
}

func TestNamespaceOfAnAddress(t *testing.T) {
	shared := table.Name{Object: objectOf("other", "db"), Headless: true, Endpoints: []table.NameEndpoint{{Addr: addrs("10.244.2.6")[0]}}}
	z := testZone(t, append(testRows(), shared)...)
	for text, want := range map[string]string{
		"10.244.1.5": "default", "::ffff:10.244.1.5": "default", "10.244.2.6": "", "10.96.0.20": "", "10.244.9.9": "",
	} {
		if got := z.NamespaceOf(netip.MustParseAddr(text)); got != want {
			t.Errorf("%s: got %q, want %q", text, got, want)
		}
	}
}
