// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"fmt"
	"testing"
	"time"

	mdns "github.com/miekg/dns"

	"eastwest/internal/dns/wire"
)

var start = time.Unix(1_000_000, 0)

func entry(t testing.TB, rcode int, records ...string) *Entry {
	t.Helper()
	m := new(mdns.Msg).SetQuestion("a.example.", mdns.TypeA)
	m.Response, m.Rcode = true, rcode
	for _, text := range records {
		rr, err := mdns.NewRR(text)
		if err != nil {
			t.Fatal(err)
		}
		if rr.Header().Rrtype == mdns.TypeSOA {
			m.Ns = append(m.Ns, rr)
		} else {
			m.Answer = append(m.Answer, rr)
		}
	}
	e, err := NewEntry(m, start)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestLifetime(t *testing.T) {
	const soa = "example. 600 IN SOA ns.example. h.example. 1 2 3 4 20"
	tests := []struct {
		name  string
		entry *Entry
		want  time.Duration
	}{
		{"least TTL", entry(t, 0, "a.example. 60 IN CNAME b.example.", "b.example. 50 IN A 192.0.2.1"), 50 * time.Second},
		{"not for ever", entry(t, 0, "a.example. 900000 IN A 192.0.2.1"), maxPositive},
		{"zero", entry(t, 0, "a.example. 0 IN A 192.0.2.1"), 0},
		{"missing name", entry(t, 3, soa), 20 * time.Second},
		{"no data", entry(t, 0, soa), 20 * time.Second},
		{"alias to no data", entry(t, 0, "a.example. 60 IN CNAME b.example.", soa), 20 * time.Second},
		{"negative without SOA", entry(t, 3), 0},
		{"failure", entry(t, 2), forFailure},
	}
	for _, tt := range tests {
		if got := tt.entry.expires.Sub(start); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

// written is what a client gets of an entry at a time.
func written(t *testing.T, e *Entry, now time.Time, turn uint32, limit int) *mdns.Msg {
	t.Helper()
	p, err := new(mdns.Msg).SetQuestion("A.Example.", mdns.TypeA).Pack()
	if err != nil {
		t.Fatal(err)
	}
	var q wire.Query
	var r wire.Reply
	q.Parse(p)
	r.Begin(&q, p, nil, limit)
	e.Write(&r, now, turn)
	var m mdns.Msg
	if err := m.Unpack(r.Finish(&q, e.Rcode, 0, 1232)); err != nil {
		t.Fatal(err)
	}
	return &m
}

// Names that end as the question does are pointers into it, so they have its case.
func TestWriteAgesAndRotates(t *testing.T) {
	e := entry(t, 0, "a.example. 60 IN CNAME b.example.", "b.example. 50 IN A 192.0.2.1", "b.example. 50 IN A 192.0.2.2")
	tests := []struct {
		after       time.Duration
		turn        uint32
		first, last string
	}{
		{0, 0, "A.Example.\t60\tIN\tCNAME\tb.Example.", "b.Example.\t50\tIN\tA\t192.0.2.2"},
		{10 * time.Second, 1, "A.Example.\t50\tIN\tCNAME\tb.Example.", "b.Example.\t40\tIN\tA\t192.0.2.1"},
		{time.Minute, 0, "A.Example.\t30\tIN\tCNAME\tb.Example.", "b.Example.\t30\tIN\tA\t192.0.2.2"}, // expired: a last resort
	}
	for _, tt := range tests {
		m := written(t, e, start.Add(tt.after), tt.turn, 512)
		if got := m.Answer[0].String(); got != tt.first {
			t.Errorf("after %v: first %s, want %s", tt.after, got, tt.first)
		}
		if got := m.Answer[2].String(); got != tt.last {
			t.Errorf("after %v: last %s, want %s", tt.after, got, tt.last)
		}
	}
}

func TestWriteTruncates(t *testing.T) {
	var records []string
	for i := range 60 {
		records = append(records, fmt.Sprintf("a.example. 60 IN A 192.0.2.%d", i))
	}
	if m := written(t, entry(t, 0, records...), start, 0, 512); !m.Truncated || len(m.Answer) < 20 {
		t.Errorf("%d answers, truncated %v", len(m.Answer), m.Truncated)
	}
}

func TestStaleEntriesStayForAWhile(t *testing.T) {
	c := New(Config{StaleFor: time.Minute})
	c.Put([]byte("k"), entry(t, 0, "a.example. 10 IN A 192.0.2.1"), start)
	for after, there := range map[time.Duration]bool{0: true, 11 * time.Second: true, 69 * time.Second: true, 71 * time.Second: false} {
		if e := c.Get([]byte("k"), start.Add(after)); (e != nil) != there {
			t.Errorf("after %v: there %v", after, e != nil)
		}
	}
}

func TestCacheIsBounded(t *testing.T) {
	c := New(Config{Entries: 640})
	e := entry(t, 0, "a.example. 10 IN A 192.0.2.1")
	for i := range 10_000 {
		c.Put(fmt.Appendf(nil, "k%d", i), e, start)
	}
	if n := c.Len(); n > 640 {
		t.Errorf("%d entries", n)
	}
}

func TestPrefetchIsSaidOnce(t *testing.T) {
	e := entry(t, 0, "a.example. 100 IN A 192.0.2.1")
	times := 0
	for range 10 {
		if e.Hit(start.Add(95 * time.Second)) {
			times++
		}
		if e.Hit(start.Add(50 * time.Second)) {
			t.Error("fetched anew in the middle of its life")
		}
	}
	if times != 1 {
		t.Errorf("said %d times", times)
	}
}
