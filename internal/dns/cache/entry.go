// SPDX-License-Identifier: Apache-2.0

package cache

import (
	"encoding/binary"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	mdns "github.com/miekg/dns"

	"eastwest/internal/dns/wire"
)

// Bounds of how long an entry is fresh.
const (
	maxPositive = time.Hour
	maxNegative = 30 * time.Second
	forFailure  = time.Second // RFC 9520 wants failures remembered, and for 1 s at least
	staleTTL    = 30          // seconds, RFC 8767
)

// Entry is a prepared reply to one question. Immutable but for its counters.
type Entry struct {
	Rcode uint16

	body    []byte // what follows the question
	count   [3]uint16
	flags   uint16   // of the reply, only AD
	ttlAt   []uint16 // where in body a TTL stands
	turning run
	stored  time.Time
	expires time.Time

	hits     atomic.Uint32
	fetching atomic.Bool
}

// run is a row of records of one size that may be rotated.
type run struct{ at, size, n int }

// NewEntry prepares a response. The sections must hold only what is to be passed on, and no OPT record.
func NewEntry(m *mdns.Msg, now time.Time) (*Entry, error) {
	if len(m.Question) != 1 {
		return nil, fmt.Errorf("prepare reply: %d questions in place of one", len(m.Question))
	}
	m.Compress = true
	msg, err := m.Pack()
	if err != nil {
		return nil, fmt.Errorf("prepare reply for %s: %w", m.Question[0].Name, err)
	}
	e := &Entry{Rcode: uint16(m.Rcode), stored: now}
	if m.AuthenticatedData {
		e.flags = wire.FlagAD
	}
	at, ok := questionEnd(msg)
	if !ok {
		return nil, fmt.Errorf("prepare reply for %s: its question cannot be read", m.Question[0].Name)
	}
	e.body = msg[at:]
	e.count = [3]uint16{uint16(len(m.Answer)), uint16(len(m.Ns)), uint16(len(m.Extra))}
	least := e.scan()
	e.expires = now.Add(e.lifetime(m, least))
	return e, nil
}

func questionEnd(msg []byte) (int, bool) {
	at := wire.HeaderLen
	for at < len(msg) && msg[at] != 0 {
		at += 1 + int(msg[at])
	}
	return at + 5, at+5 <= len(msg)
}

// scan notes the places of TTLs and the records that can be rotated, and returns the least TTL in seconds.
func (e *Entry) scan() uint32 {
	least, at := uint32(math.MaxUint32), 0
	for i := range int(e.count[0]) + int(e.count[1]) + int(e.count[2]) {
		rr, ok := wire.ReadRecord(e.body, at)
		if !ok {
			break
		}
		e.ttlAt = append(e.ttlAt, uint16(rr.NameEnd+4))
		least = min(least, rr.TTL)
		if i < int(e.count[0]) {
			e.turning.add(rr, at)
		}
		at = rr.End
	}
	return least
}

// add takes one more address record into the run; any other record begins it anew.
func (r *run) add(rr wire.Record, at int) {
	size := rr.End - at
	switch {
	case rr.Type != wire.TypeA && rr.Type != wire.TypeAAAA:
		*r = run{}
	case r.n > 0 && r.size == size && r.at+r.n*r.size == at:
		r.n++
	default:
		*r = run{at, size, 1}
	}
}

// lifetime says how long the entry is fresh: the least TTL of an answer; for a negative one, the SOA record's own TTL or
// its minimum (RFC 2308); nothing for a negative answer without SOA.
func (e *Entry) lifetime(m *mdns.Msg, least uint32) time.Duration {
	switch {
	case m.Rcode != mdns.RcodeSuccess && m.Rcode != mdns.RcodeNameError:
		return forFailure
	case m.Rcode == mdns.RcodeSuccess && len(m.Answer) > 0 && !onlyAliases(m):
		return min(time.Duration(least)*time.Second, maxPositive)
	}
	for _, rr := range m.Ns {
		if soa, ok := rr.(*mdns.SOA); ok {
			return min(time.Duration(min(least, soa.Minttl))*time.Second, maxNegative)
		}
	}
	return 0
}

func onlyAliases(m *mdns.Msg) bool {
	for _, rr := range m.Answer {
		if t := rr.Header().Rrtype; t != mdns.TypeCNAME && t != mdns.TypeRRSIG {
			return false
		}
	}
	return m.Question[0].Qtype != mdns.TypeCNAME
}

// Expired reports whether the entry may no longer be used but as a last resort.
func (e *Entry) Expired(now time.Time) bool { return !now.Before(e.expires) }

// Cacheable reports whether the entry is worth storing at all.
func (e *Entry) Cacheable() bool { return e.expires.After(e.stored) }

// Failed reports whether the entry is an error of the server asked, and says nothing about the name.
func (e *Entry) Failed() bool { return e.Rcode != wire.NoError && e.Rcode != wire.NXDomain }

// Hit counts a use and reports whether the entry ought to be fetched anew before it expires: it is in use, and in the
// last tenth of its life. That is said to one caller only.
func (e *Entry) Hit(now time.Time) bool {
	if e.hits.Load() < math.MaxInt32 {
		e.hits.Add(1)
	}
	left, life := e.expires.Sub(now), e.expires.Sub(e.stored)
	return left < life/10 && e.hits.Load() > 2 && e.fetching.CompareAndSwap(false, true)
}

func (e *Entry) lessUseful(other *Entry, now time.Time) bool {
	if gone, otherGone := e.Expired(now), other.Expired(now); gone != otherGone {
		return gone
	}
	return e.hits.Load() < other.hits.Load()
}

func (e *Entry) size() int { return len(e.body) + 2*len(e.ttlAt) + 192 }

// Flags returns the header bits to pass on to q: AD, if q asked for it.
func (e *Entry) Flags(q *wire.Query) uint16 {
	if q.DO || q.Flags&wire.FlagAD != 0 {
		return e.flags
	}
	return 0
}

// Write appends the records to a reply whose question has the entry's name. TTLs are shortened by the entry's age; turn
// rotates addresses.
func (e *Entry) Write(r *wire.Reply, now time.Time, turn uint32) {
	if !r.Fits(len(e.body)) {
		e.writePart(r)
		return
	}
	at := len(r.Buf)
	r.Buf = append(r.Buf, e.body...)
	for s, n := range e.count {
		r.Count(wire.Section(s), int(n))
	}
	if e.turning.n > 1 {
		e.rotate(r.Buf[at:], turn)
	}
	age, stale := uint32(max(0, now.Sub(e.stored))/time.Second), e.Expired(now) && e.Cacheable()
	for _, offset := range e.ttlAt {
		ttl := r.Buf[at+int(offset) : at+int(offset)+4]
		was := binary.BigEndian.Uint32(ttl)
		left := was - min(was, age)
		if stale {
			left = min(was, staleTTL)
		}
		binary.BigEndian.PutUint32(ttl, left)
	}
}

func (e *Entry) rotate(to []byte, turn uint32) {
	t := e.turning
	from := e.body[t.at : t.at+t.n*t.size]
	first := int(turn%uint32(t.n)) * t.size
	copy(to[t.at:], from[first:])
	copy(to[t.at+len(from)-first:], from[:first])
}

// writePart appends as many records of the answer as fit and marks the reply truncated.
func (e *Entry) writePart(r *wire.Reply) {
	r.Truncate()
	end, n := 0, 0
	for n < int(e.count[0]) {
		rr, ok := wire.ReadRecord(e.body, end)
		if !ok || !r.Fits(rr.End) {
			break
		}
		end, n = rr.End, n+1
	}
	r.Buf = append(r.Buf, e.body[:end]...)
	r.Count(wire.Answer, n)
}
