// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"bytes"
	"testing"

	mdns "github.com/miekg/dns"
)

func packed(t testing.TB, change func(*mdns.Msg)) []byte {
	t.Helper()
	m := new(mdns.Msg).SetQuestion("WwW.example.com.", mdns.TypeA)
	m.Id = 0x1234
	if change != nil {
		change(m)
	}
	p, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestParse(t *testing.T) {
	edns := func(m *mdns.Msg) { m.SetEdns0(4096, true) }
	tests := []struct {
		name    string
		packet  []byte
		verdict Verdict
		rcode   uint16
	}{
		{"plain", packed(t, nil), Good, NoError},
		{"with EDNS", packed(t, edns), Good, NoError},
		{"nothing", nil, Drop, 0},
		{"half a header", packed(t, nil)[:11], Drop, 0},
		{"a response", packed(t, func(m *mdns.Msg) { m.Response = true }), Drop, 0},
		{"update", packed(t, func(m *mdns.Msg) { m.Opcode = mdns.OpcodeUpdate }), Bad, NotImp},
		{"no question", packed(t, func(m *mdns.Msg) { m.Question = nil }), Bad, FormErr},
		{"two questions", packed(t, func(m *mdns.Msg) { m.Question = append(m.Question, m.Question...) }), Bad, FormErr},
		{"cut in the name", packed(t, nil)[:20], Bad, FormErr},
		{"cut in the type", packed(t, nil)[:30], Bad, FormErr},
		{"bytes behind", append(packed(t, nil), 0), Bad, FormErr},
		{"a pointer to itself", append(packed(t, nil)[:12], 0xc0, 12, 0, 1, 0, 1), Bad, FormErr},
		{"cut in OPT", packed(t, edns)[:40], Bad, FormErr},
		{"two OPT", packed(t, func(m *mdns.Msg) { edns(m); edns(m) }), Bad, FormErr},
		{"EDNS version 1", packed(t, func(m *mdns.Msg) { edns(m); m.IsEdns0().SetVersion(1) }), Bad, BadVers},
		{"unknown option", packed(t, func(m *mdns.Msg) {
			edns(m)
			m.IsEdns0().Option = append(m.IsEdns0().Option, &mdns.EDNS0_LOCAL{Code: 65001, Data: []byte("x")})
		}), Good, NoError},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var q Query
			if got := q.Parse(tt.packet); got != tt.verdict || q.Rcode != tt.rcode {
				t.Errorf("got verdict %d, code %d; want %d, %d", got, q.Rcode, tt.verdict, tt.rcode)
			}
		})
	}
}

func TestParsedFields(t *testing.T) {
	var q Query
	q.Parse(packed(t, func(m *mdns.Msg) { m.SetEdns0(4096, true) }))
	if q.ID != 0x1234 || q.Type != TypeA || q.Class != ClassIN || !q.EDNS || !q.DO || q.UDPSize != 4096 {
		t.Errorf("got %+v", q)
	}
	if got := Text(q.Name()); got != "www.example.com." {
		t.Errorf("name %s", got)
	}
	if got := string(q.Label(1)); q.Labels != 3 || got != "example" {
		t.Errorf("label 1 of %d is %s", q.Labels, got)
	}
	if got := Text(append(q.Span(0, 2), 0)); got != "www.example." {
		t.Errorf("span %s", got)
	}
}

func TestReplyKeepsCaseAndBits(t *testing.T) {
	p := packed(t, func(m *mdns.Msg) { m.SetEdns0(4096, false); m.CheckingDisabled = true })
	var q Query
	var r Reply
	q.Parse(p)
	r.Begin(&q, p, nil, MinUDP)
	r.Head(HeaderLen, TypeA, 30, 4)
	r.Buf = append(r.Buf, 192, 0, 2, 1)
	r.Count(Answer, 1)
	var m mdns.Msg
	if err := m.Unpack(r.Finish(&q, NoError, FlagAA, 1232)); err != nil {
		t.Fatal(err)
	}
	if m.Answer[0].String() != "WwW.example.com.\t30\tIN\tA\t192.0.2.1" || m.Question[0].Name != "WwW.example.com." {
		t.Errorf("got %v", m.Answer)
	}
	if !m.RecursionDesired || !m.CheckingDisabled || !m.Authoritative || m.Id != 0x1234 || m.IsEdns0().UDPSize() != 1232 {
		t.Errorf("got %v", m)
	}
}

func TestNames(t *testing.T) {
	long := string(bytes.Repeat([]byte("a"), 64))
	for name, ok := range map[string]bool{"a.b.": true, "A.b": true, "": true, ".": true, "a..b": false, long: false} {
		if _, err := Name(name); (err == nil) != ok {
			t.Errorf("%q: err %v", name, err)
		}
	}
	if got := Text([]byte("\x03a.b\x02\x00c\x00")); got != `a\.b.\000c.` {
		t.Errorf("got %s", got)
	}
}

// FuzzParse: no packet breaks the parser; what it takes for good, miekg/dns reads the same way; every reply can be read.
func FuzzParse(f *testing.F) {
	f.Add(packed(f, nil))
	f.Add(packed(f, func(m *mdns.Msg) { m.SetEdns0(4096, true) }))
	f.Add([]byte("\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\xc0\x0c\x00\x01\x00\x01"))
	f.Fuzz(func(t *testing.T, p []byte) {
		var q Query
		var r Reply
		v := q.Parse(p)
		if v == Drop {
			return
		}
		r.Begin(&q, p, nil, 1232)
		var m mdns.Msg
		if err := m.Unpack(r.Finish(&q, q.Rcode, 0, 1232)); err != nil {
			t.Fatalf("reply cannot be read: %v", err)
		}
		var asked mdns.Msg
		if v != Good || asked.Unpack(p) != nil {
			return
		}
		want, err := Name(mdns.CanonicalName(asked.Question[0].Name))
		if err == nil && !bytes.ContainsRune([]byte(asked.Question[0].Name), '\\') && !bytes.Equal(want, q.Name()) {
			t.Fatalf("name %q, want %q", q.Name(), want)
		}
		if asked.Question[0].Qtype != q.Type || asked.Question[0].Qclass != q.Class {
			t.Fatalf("type %d class %d, want %v", q.Type, q.Class, asked.Question[0])
		}
	})
}

// A query without some labels is the query that asks without them.
func TestWithout(t *testing.T) {
	ask := func(name string) (q Query) {
		p, err := new(mdns.Msg).SetQuestion(name, mdns.TypeAAAA).Pack()
		if err != nil {
			t.Fatal(err)
		}
		q.Parse(p)
		return q
	}
	full := ask("a.bcd.Ns.svc.cluster.local.")
	for _, tt := range []struct {
		from, to int
		want     string
	}{{2, 3, "a.bcd.svc.cluster.local."}, {2, 4, "a.bcd.cluster.local."}, {2, 6, "a.bcd."}, {0, 2, "ns.svc.cluster.local."}, {0, 6, "."}, {3, 3, "a.bcd.ns.svc.cluster.local."}} {
		got := ask("something.else.that.is.longer.than.what.comes.now.example.")
		full.Without(&got, tt.from, tt.to)
		want := ask(tt.want)
		if !bytes.Equal(got.Name(), want.Name()) || got.Labels != want.Labels || got.Type != want.Type || got.Class != want.Class {
			t.Errorf("without %d to %d: got %s with %d labels, want %s", tt.from, tt.to, Text(got.Name()), got.Labels, tt.want)
		}
		for i := range want.Labels {
			if !bytes.Equal(got.Label(i), want.Label(i)) || !bytes.Equal(got.From(i), want.From(i)) {
				t.Errorf("without %d to %d: label %d is %s", tt.from, tt.to, i, got.Label(i))
			}
		}
	}
}

// A query about another name is the same query but for its name.
func TestAbout(t *testing.T) {
	for _, dnssec := range []bool{false, true} {
		m := new(mdns.Msg).SetQuestion("www.example.com.", mdns.TypeAAAA)
		m.CheckingDisabled = dnssec
		if dnssec {
			m.SetEdns0(1232, true)
		}
		p, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		var q, other Query
		q.Parse(p)
		name, err := Name("example.org")
		if err != nil {
			t.Fatal(err)
		}
		if v := other.Parse(q.About(name)); v != Good {
			t.Fatalf("verdict %v", v)
		}
		if !bytes.Equal(other.Name(), name) || other.Type != q.Type || other.Class != q.Class || other.DO != dnssec || other.Flags&FlagCD != q.Flags&FlagCD {
			t.Errorf("got %+v", other)
		}
	}
}
