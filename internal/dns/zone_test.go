// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	mdns "github.com/miekg/dns"

	"eastwest/internal/dns/wire"
	"eastwest/internal/table"
)

// query asks the zone in memory and returns the message; nil if the zone has no say.
func query(t testing.TB, z *Zone, name string, qtype uint16, turn uint32, limit int) *mdns.Msg {
	t.Helper()
	m, err := queryZone(z, name, qtype, turn, limit)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func queryZone(z *Zone, name string, qtype uint16, turn uint32, limit int) (*mdns.Msg, error) {
	m := new(mdns.Msg).SetQuestion(name, qtype)
	packet, err := m.Pack()
	if err != nil {
		return nil, err
	}
	var c session
	if c.query.Parse(packet) != wire.Good {
		return nil, fmt.Errorf("query for %s is not good", name)
	}
	c.reply.Begin(&c.query, packet, nil, limit)
	o, rcode, target := z.answer(&c.query, &c.reply, turn)
	switch o {
	case foreign:
		return nil, nil
	case alias:
		m.Answer = append(m.Answer, &mdns.CNAME{
			Hdr: mdns.RR_Header{Name: name, Rrtype: mdns.TypeCNAME, Class: mdns.ClassINET}, Target: wire.Text(target)})
		return m, nil
	}
	out := new(mdns.Msg)
	if err := out.Unpack(c.reply.Finish(&c.query, rcode, flags(true), maxUDP)); err != nil {
		return nil, fmt.Errorf("reply for %s cannot be read: %w", name, err)
	}
	return out, nil
}

// text is an answer in one line: code, answers, and behind | what was added; - is another server's business.
func text(m *mdns.Msg) string {
	if m == nil {
		return "-"
	}
	out := mdns.RcodeToString[m.Rcode]
	var answer, extra []string
	for _, rr := range m.Answer {
		answer = append(answer, rrText(rr))
	}
	for _, rr := range m.Extra {
		extra = append(extra, rr.Header().Name+" "+rrText(rr))
	}
	slices.Sort(answer)
	slices.Sort(extra)
	if len(answer) > 0 {
		out = strings.Join(answer, ", ")
	}
	for _, rr := range m.Ns {
		out += " of " + rr.Header().Name
	}
	if len(extra) > 0 {
		out += " | " + strings.Join(extra, ", ")
	}
	return out
}

func rrText(rr mdns.RR) string {
	switch rr := rr.(type) {
	case *mdns.SOA:
		return fmt.Sprintf("SOA %s %s %d", rr.Ns, rr.Mbox, rr.Minttl)
	default:
		return mdns.TypeToString[rr.Header().Rrtype] + " " + strings.TrimPrefix(rr.String(), rr.Header().String())
	}
}

// What a zone without the name answers, and one with the name and no such record.
const (
	nx     = "NXDOMAIN of cluster.local."
	nodata = "NOERROR of cluster.local."
)

type zoneTest struct{ name, qtype, want string }

func testAnswers(t *testing.T, tests []zoneTest) {
	t.Helper()
	z := testZone(t, testRows()...)
	for _, tt := range tests {
		got := text(query(t, z, tt.name, mdns.StringToType[tt.qtype], 0, maxTCP))
		if got != tt.want {
			t.Errorf("%s %s\n got %s\nwant %s", tt.name, tt.qtype, got, tt.want)
		}
	}
}

func TestZoneAnswersForServices(t *testing.T) {
	testAnswers(t, []zoneTest{
		{"web.default.svc.cluster.local.", "A", "A 10.96.0.20"},
		{"web.default.svc.cluster.local.", "AAAA", nodata},
		{"web.default.svc.cluster.local.", "MX", nodata},
		{"web.default.svc.cluster.local.", "ANY", "A 10.96.0.20"},
		{"web.default.svc.cluster.local.", "SRV", "SRV 0 50 80 web.default.svc.cluster.local., SRV 0 50 8080 web.default.svc.cluster.local. | web.default.svc.cluster.local. A 10.96.0.20"},
		{"_http._tcp.web.default.svc.cluster.local.", "SRV", "SRV 0 100 80 web.default.svc.cluster.local. | web.default.svc.cluster.local. A 10.96.0.20"},
		{"_http._udp.web.default.svc.cluster.local.", "SRV", nx},
		{"_tcp.web.default.svc.cluster.local.", "A", nodata},
		{"_udp.web.default.svc.cluster.local.", "A", nx},
		{"http.tcp.web.default.svc.cluster.local.", "SRV", nx},
		{"x._http._tcp.web.default.svc.cluster.local.", "SRV", nx},
		{"dual.default.svc.cluster.local.", "AAAA", "AAAA fd00:96::21"},
		{"_http._tcp.dual.default.svc.cluster.local.", "SRV", "SRV 0 50 80 dual.default.svc.cluster.local. | dual.default.svc.cluster.local. A 10.96.0.21, dual.default.svc.cluster.local. AAAA fd00:96::21"},
		{"kube-dns.kube-system.svc.cluster.local.", "SRV", "SRV 0 50 53 kube-dns.kube-system.svc.cluster.local. | kube-dns.kube-system.svc.cluster.local. A 10.96.0.10"},

		{"db.default.svc.cluster.local.", "A", "A 10.244.1.5, A 10.244.2.5, A 10.244.2.6"},
		{"db-0.db.default.svc.cluster.local.", "A", "A 10.244.1.5"},
		{"db-0.db.default.svc.cluster.local.", "AAAA", nodata},
		{"10-244-2-6.db.default.svc.cluster.local.", "A", "A 10.244.2.6"},
		{"10-244-2-5.db.default.svc.cluster.local.", "A", nx},
		{"db-0.db.default.svc.cluster.local.", "SRV", "SRV 0 100 7000 db-0.db.default.svc.cluster.local. | db-0.db.default.svc.cluster.local. A 10.244.1.5"},
		{"_peer._tcp.db.default.svc.cluster.local.", "A", "A 10.244.1.5, A 10.244.2.5, A 10.244.2.6"},
		{"_peer._tcp.db.default.svc.cluster.local.", "SRV", "SRV 0 33 7000 10-244-2-6.db.default.svc.cluster.local., SRV 0 33 7000 db-0.db.default.svc.cluster.local., SRV 0 33 7000 db-1.db.default.svc.cluster.local. | " +
			"10-244-2-6.db.default.svc.cluster.local. A 10.244.2.6, db-0.db.default.svc.cluster.local. A 10.244.1.5, db-1.db.default.svc.cluster.local. A 10.244.2.5"},
		{"none.default.svc.cluster.local.", "A", nx},

		{"inside.default.svc.cluster.local.", "A", "CNAME web.default.svc.cluster.local."},
		{"outside.default.svc.cluster.local.", "CNAME", "CNAME www.example.com."},
		{"x.outside.default.svc.cluster.local.", "A", nx},
	})
}

func TestZoneAnswersForTheDomain(t *testing.T) {
	testAnswers(t, []zoneTest{
		{"cluster.local.", "SOA", "SOA ns.dns.cluster.local. hostmaster.cluster.local. 5"},
		{"cluster.local.", "NS", "NS kube-dns.kube-system.svc.cluster.local. | kube-dns.kube-system.svc.cluster.local. A 10.96.0.10"},
		{"cluster.local.", "A", nodata},
		{"svc.cluster.local.", "A", nodata},
		{"default.svc.cluster.local.", "A", nodata},
		{"empty.svc.cluster.local.", "A", nodata},
		{"gone.svc.cluster.local.", "A", nx},
		{"ns.dns.cluster.local.", "A", "A 10.96.0.10"},
		{"dns.cluster.local.", "A", nodata},
		{"dns-version.cluster.local.", "TXT", `TXT "1.1.0"`},
		{"dns-version.cluster.local.", "A", nodata},
		{"example.com.default.svc.cluster.local.", "A", nx},
		{"example.com.svc.cluster.local.", "A", nx},
		{"example.com.cluster.local.", "A", nx},
	})
}

func TestZoneAnswersForAddresses(t *testing.T) {
	testAnswers(t, []zoneTest{
		{"10-1-2-3.default.pod.cluster.local.", "A", "A 10.1.2.3"},
		{"10-1-2-3.empty.pod.cluster.local.", "A", "A 10.1.2.3"},
		{"fd00--1.default.pod.cluster.local.", "AAAA", "AAAA fd00::1"},
		{"10-1-2-3.default.pod.cluster.local.", "AAAA", nodata},
		{"10-1-2-3.gone.pod.cluster.local.", "A", nx},
		{"10-1-2-256.default.pod.cluster.local.", "A", nx},
		{"x.10-1-2-3.default.pod.cluster.local.", "A", nx},
		{"default.pod.cluster.local.", "A", nodata},
		{"pod.cluster.local.", "A", nodata},

		{"20.0.96.10.in-addr.arpa.", "PTR", "PTR web.default.svc.cluster.local."},
		{"20.0.96.10.in-addr.arpa.", "A", "NOERROR of 96.10.in-addr.arpa."},
		{"5.1.244.10.in-addr.arpa.", "PTR", "PTR db-0.db.default.svc.cluster.local."},
		{"9.1.244.10.in-addr.arpa.", "PTR", "NXDOMAIN of 244.10.in-addr.arpa."},
		{"1.244.10.in-addr.arpa.", "PTR", "NOERROR of 244.10.in-addr.arpa."},
		{"x.1.244.10.in-addr.arpa.", "PTR", "NXDOMAIN of 244.10.in-addr.arpa."},
		{"1.2.3.99.10.in-addr.arpa.", "PTR", "NXDOMAIN of 99.10.in-addr.arpa."},
		{"10.in-addr.arpa.", "PTR", "-"},
		{"1.0.0.127.in-addr.arpa.", "PTR", "-"},
		{"1.2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.0.0.0.0.d.f.ip6.arpa.", "PTR", "PTR dual.default.svc.cluster.local."},
		{"2.2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.0.0.0.0.d.f.ip6.arpa.", "PTR", "NXDOMAIN of 0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.0.0.0.0.d.f.ip6.arpa."},
		{"example.com.", "A", "-"},
		{"xcluster.local.", "A", "-"},
		{"local.", "A", "-"},
		{".", "NS", "-"},
	})
}

func TestZoneSaysServfailUntilFirstTable(t *testing.T) {
	z, err := NewZone(ZoneConfig{Reverse: testZone(t).cfg.Reverse})
	if err != nil {
		t.Fatal(err)
	}
	if z.Ready() {
		t.Error("ready before the first table")
	}
	for name, want := range map[string]string{
		"web.default.svc.cluster.local.": "SERVFAIL",
		"1.1.244.10.in-addr.arpa.":       "SERVFAIL",
		"example.com.":                   "-",
	} {
		if got := text(query(t, z, name, mdns.TypeA, 0, maxTCP)); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
	if err := z.Apply(context.Background(), table.Table[table.Name]{}, table.Keys{All: true}); err != nil || !z.Ready() {
		t.Errorf("after an empty table: ready %v, err %v", z.Ready(), err)
	}
	if got := text(query(t, z, "web.default.svc.cluster.local.", mdns.TypeA, 0, maxTCP)); got != "NXDOMAIN of cluster.local." {
		t.Errorf("after an empty table: %s", got)
	}
}

func TestZoneFollowsChanges(t *testing.T) {
	rows := testRows()
	z := testZone(t, rows...)
	want := table.Table[table.Name]{}.With(map[string]table.Name{"default/web": {
		Object: objectOf("default", "web"), ClusterIPs: addrs("10.96.0.99"), TTL: 30}})
	changed := table.Keys{Names: []string{"default/web", "default/db", "empty/"}}
	if err := z.Apply(context.Background(), want, changed); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"web.default.svc.cluster.local.":  "A 10.96.0.99",
		"db.default.svc.cluster.local.":   "NXDOMAIN of cluster.local.",
		"dual.default.svc.cluster.local.": "A 10.96.0.21",
		"empty.svc.cluster.local.":        "NXDOMAIN of cluster.local.",
		"20.0.96.10.in-addr.arpa.":        "NXDOMAIN of 96.10.in-addr.arpa.",
		"99.0.96.10.in-addr.arpa.":        "NOERROR of 96.10.in-addr.arpa.",
		"5.1.244.10.in-addr.arpa.":        "NXDOMAIN of 244.10.in-addr.arpa.",
	} {
		if got := text(query(t, z, name, mdns.TypeA, 0, maxTCP)); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
}

// Ranges that come and go while names are served decide who is asked for an address that has no name; one that has is answered anyway.
func TestZoneFollowsRanges(t *testing.T) {
	far := table.Name{Object: objectOf("default", "far"), ClusterIPs: addrs("203.0.113.77"), TTL: 30}
	z := testZone(t, append(testRows(), far)...)
	before := *z.reverse.Load()
	for _, step := range []struct {
		more []netip.Prefix
		want string
	}{
		{nil, "-"},
		{[]netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}, "NXDOMAIN of 113.0.203.in-addr.arpa."},
		{nil, "-"},
	} {
		z.SetReverse(slices.Concat(before, step.more))
		for name, want := range map[string]string{
			"9.113.0.203.in-addr.arpa.":  step.want,
			"77.113.0.203.in-addr.arpa.": "PTR far.default.svc.cluster.local.",
			"9.0.96.10.in-addr.arpa.":    "NXDOMAIN of 96.10.in-addr.arpa.",
		} {
			if got := text(query(t, z, name, mdns.TypePTR, 0, maxTCP)); got != want {
				t.Errorf("with %v, %s: got %s, want %s", step.more, name, got, want)
			}
		}
	}
}

func TestZoneVerifiedPods(t *testing.T) {
	z := testZone(t)
	z.cfg.Pods = PodsVerified
	row := table.Name{Object: table.Object{Kind: "Namespace", Name: "a"}, Endpoints: []table.NameEndpoint{{Addr: addrs("10.1.2.3")[0]}}}
	if err := z.Apply(context.Background(), table.Table[table.Name]{}.With(map[string]table.Name{"a/": row}), table.Keys{All: true}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"10-1-2-3.a.pod.cluster.local.": "A 10.1.2.3",
		"10-1-2-4.a.pod.cluster.local.": "NXDOMAIN of cluster.local.",
	} {
		if got := text(query(t, z, name, mdns.TypeA, 0, maxTCP)); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
}

func TestZoneRotatesAndTruncates(t *testing.T) {
	row := table.Name{Object: objectOf("default", "many"), Headless: true, TTL: 5}
	for i := range 100 {
		a := addrs(fmt.Sprintf("10.244.1.%d", i))[0]
		row.Endpoints = append(row.Endpoints, table.NameEndpoint{Addr: a, Ports: []table.NamePort{{Name: "p", Protocol: "tcp", Port: 1}}})
	}
	z := testZone(t, row)
	first := map[string]bool{}
	for turn := range uint32(100) {
		m := query(t, z, "many.default.svc.cluster.local.", mdns.TypeA, turn, 512)
		if !m.Truncated || len(m.Answer) != 29 {
			t.Fatalf("turn %d: %d answers, truncated %v", turn, len(m.Answer), m.Truncated)
		}
		first[m.Answer[0].String()] = true
	}
	if len(first) != 100 {
		t.Errorf("%d of 100 records came first", len(first))
	}
	for _, qtype := range []uint16{mdns.TypeA, mdns.TypeSRV} {
		if m := query(t, z, "many.default.svc.cluster.local.", qtype, 7, maxTCP); m.Truncated || len(m.Answer) != 100 {
			t.Errorf("over TCP: %d answers, truncated %v", len(m.Answer), m.Truncated)
		}
	}
	if m := query(t, z, "many.default.svc.cluster.local.", mdns.TypeSRV, 7, 512); !m.Truncated || len(m.Answer) == 0 {
		t.Errorf("SRV over UDP: %v", m)
	}
}

func TestZoneLeavesOutRowsThatAreNoNames(t *testing.T) {
	z := testZone(t,
		table.Name{Object: objectOf("default", "good"), ClusterIPs: addrs("10.96.0.1")},
		table.Name{Object: objectOf("default", "a..b"), ClusterIPs: addrs("10.96.0.2")},
		table.Name{Object: objectOf("default", "host"), Headless: true, Endpoints: []table.NameEndpoint{{Hostname: "a.b", Addr: addrs("10.0.0.1")[0]}}},
		table.Name{Object: objectOf("default", "address"), ExternalName: "192.0.2.1"},
	)
	got, err := z.Dump(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	want := "10.96.0.1 PTR good.default.svc.cluster.local. # Service default/good\n" +
		"good.default.svc.cluster.local. A 10.96.0.1 # Service default/good\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("dump (-want +got):\n%s", diff)
	}
}
