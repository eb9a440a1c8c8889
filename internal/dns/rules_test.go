// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"fmt"
	"testing"

	mdns "github.com/miekg/dns"

	"eastwest/internal/dns/config"
	"eastwest/internal/dns/forward"
)

func configure(t *testing.T, s *Server, text string) {
	t.Helper()
	c, err := config.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	s.Configure(c)
}

// Names of the configuration come and go while the server runs, and nothing of the last one stays in the cache.
func TestConfigurationChangesWhileServing(t *testing.T) {
	outer, inner := startUpstream(t), startUpstream(t)
	s := startServer(t, ServerConfig{Zone: testZone(t, testRows()...), Upstreams: forward.Plain(outer.addr)})
	check := func(name string, qtype uint16, want string) {
		t.Helper()
		for _, network := range []string{"udp", "tcp"} {
			if got := answers(ask(t, network, s, name, qtype)); got != want {
				t.Errorf("%s %s: got %s, want %s", name, mdns.TypeToString[qtype], got, want)
			}
		}
	}
	check("db.example.com.", mdns.TypeA, "NXDOMAIN")
	configure(t, s, fmt.Sprintf(`
hosts:
- {address: 192.0.2.7, names: [db.example.com]}
- {address: "2001:db8::7", names: [DB.example.com]}
rewrites:
- {from: old.example.org, to: web.default.svc.cluster.local}
- {from: new.example.org, to: www.example.com}
stubZones:
- {zone: example.com, upstreams: ["%s"]}
`, inner.addr))
	check("db.example.com.", mdns.TypeA, "NOERROR A 192.0.2.7")
	check("db.EXAMPLE.com.", mdns.TypeAAAA, "NOERROR AAAA 2001:db8::7")
	check("db.example.com.", mdns.TypeMX, "NOERROR")
	check("old.example.org.", mdns.TypeA, "NOERROR A 10.96.0.20 CNAME web.default.svc.cluster.local.")
	before := outer.asked.Load()
	check("new.example.org.", mdns.TypeA, "NOERROR A 192.0.2.1 A 192.0.2.2 A 192.0.2.3 CNAME www.example.com.")
	check("www.example.com.", mdns.TypeA, "NOERROR A 192.0.2.1 A 192.0.2.2 A 192.0.2.3")
	if n := outer.asked.Load() - before; n != 0 || inner.asked.Load() == 0 {
		t.Errorf("names of the stub zone: its server was asked %d times, the other one %d", inner.asked.Load(), n)
	}
	check("web.default.svc.cluster.local.", mdns.TypeA, "NOERROR A 10.96.0.20")

	configure(t, s, "")
	check("db.example.com.", mdns.TypeA, "NXDOMAIN")
	before = inner.asked.Load()
	check("www.example.com.", mdns.TypeA, "NOERROR A 192.0.2.1 A 192.0.2.2 A 192.0.2.3")
	if inner.asked.Load() != before {
		t.Error("the stub zone's server is still asked")
	}
}

func TestRewritesInCirclesFail(t *testing.T) {
	s := startServer(t, ServerConfig{})
	configure(t, s, "rewrites: [{from: a.example, to: b.example}, {from: b.example, to: a.example}]")
	if got := answers(ask(t, "udp", s, "a.example.", mdns.TypeA)); got != "SERVFAIL" {
		t.Errorf("got %s", got)
	}
}
