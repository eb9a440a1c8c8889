// SPDX-License-Identifier: Apache-2.0

package resolve_test

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"eastwest/internal/tool/resolve"
)

const zone = `nginx.default.svc.cluster.local. 5 IN A 10.96.0.20
_http._tcp.nginx.default.svc.cluster.local. 5 IN SRV 0 100 30050 nginx.default.svc.cluster.local.
20.0.96.10.in-addr.arpa. 5 IN PTR nginx.default.svc.cluster.local.
big.example. 5 IN TXT "` + "0123456789012345678901234567890123456789" + `"
`

// serve answers from zone over UDP and TCP on one port of loopback; names under big.example are cut over UDP.
func serve(t *testing.T) string {
	t.Helper()
	packets, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	streams, err := net.Listen("tcp", packets.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	for network, s := range map[string]*dns.Server{"udp": {PacketConn: packets}, "tcp": {Listener: streams}} {
		ready := make(chan struct{})
		s.NotifyStartedFunc = func() { close(ready) }
		s.Handler = dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) { _ = w.WriteMsg(answer(q, network)) })
		go func() { _ = s.ActivateAndServe() }()
		<-ready
		t.Cleanup(func() { _ = s.Shutdown() })
	}
	return packets.LocalAddr().String()
}

func answer(q *dns.Msg, network string) *dns.Msg {
	reply := new(dns.Msg).SetReply(q)
	question := q.Question[0]
	reply.Rcode = dns.RcodeNameError
	if network == "udp" && question.Name == "big.example." {
		reply.Rcode, reply.Truncated = dns.RcodeSuccess, true
		return reply
	}
	parser := dns.NewZoneParser(strings.NewReader(zone), ".", "")
	for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
		if rr.Header().Name != question.Name {
			continue
		}
		reply.Rcode = dns.RcodeSuccess
		if rr.Header().Rrtype == question.Qtype {
			reply.Answer = append(reply.Answer, rr)
		}
	}
	return reply
}

func resolvConf(t *testing.T, ndots string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "resolv.conf")
	text := "nameserver 127.0.0.1\nsearch default.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:" + ndots + "\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestNamesTriedInOrder(t *testing.T) {
	server := serve(t)
	conf := resolvConf(t, "5")
	for _, c := range []struct {
		name, kind string
		tried      []string // name and outcome
		records    []string
	}{
		{"nginx", "", []string{"nginx.default.svc.cluster.local. NOERROR"}, []string{"10.96.0.20"}},
		{"nginx.default", "a", []string{
			"nginx.default.default.svc.cluster.local. NXDOMAIN", "nginx.default.svc.cluster.local. NOERROR"}, []string{"10.96.0.20"}},
		{"nginx.default.svc.cluster.local.", "AAAA", []string{"nginx.default.svc.cluster.local. NOERROR"}, nil},
		{"10.96.0.20", "PTR", []string{"20.0.96.10.in-addr.arpa. NOERROR"}, []string{"nginx.default.svc.cluster.local."}},
		{"_http._tcp.nginx.default.svc.cluster.local.", "SRV", []string{"_http._tcp.nginx.default.svc.cluster.local. NOERROR"},
			[]string{"0 100 30050 nginx.default.svc.cluster.local."}},
		{"none", "A", []string{"none.default.svc.cluster.local. NXDOMAIN", "none.svc.cluster.local. NXDOMAIN",
			"none.cluster.local. NXDOMAIN", "none. NXDOMAIN"}, nil},
		{"big.example.", "TXT", []string{"big.example. NOERROR"}, []string{`"0123456789012345678901234567890123456789"`}},
	} {
		t.Run(c.name+" "+c.kind, func(t *testing.T) {
			got, err := resolve.Resolve(t.Context(), resolve.Query{Name: c.name, Type: c.kind, Server: server, ResolvConf: conf})
			if err != nil {
				t.Fatal(err)
			}
			var tried, records []string
			for _, try := range got.Tried {
				tried = append(tried, try.Name+" "+try.Status)
			}
			for _, r := range got.Records {
				records = append(records, r.Data)
			}
			if diff := cmp.Diff([][]string{c.tried, c.records}, [][]string{tried, records}); diff != "" {
				t.Errorf("tried and records (-want +got):\n%s", diff)
			}
		})
	}
}

func TestSilentServerIsSaid(t *testing.T) {
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	got, err := resolve.Resolve(t.Context(), resolve.Query{
		Name: "nginx", Server: silent.LocalAddr().String(), ResolvConf: resolvConf(t, "5"), Timeout: 10 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Tried) != 1 || got.Tried[0].Error != "no answer within 10ms" {
		t.Errorf("tried %+v, want one name without an answer", got.Tried)
	}
}

func TestWrongUsage(t *testing.T) {
	for _, q := range []resolve.Query{
		{Name: "", Server: "127.0.0.1"}, {Name: "x", Type: "NOPE"}, {Name: "x", Server: "not an address"},
		{Name: "x", ResolvConf: "/nonexistent"},
	} {
		if _, err := resolve.Resolve(t.Context(), q); err == nil {
			t.Errorf("query %+v: no error", q)
		}
	}
}
