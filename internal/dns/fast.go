// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"net/netip"
	"time"

	"eastwest/internal/dns/cache"
	"eastwest/internal/dns/wire"
)

// session is the memory that answering takes. One goroutine uses it, query after query.
type session struct {
	query wire.Query
	other wire.Query // another name of the query's search path
	reply wire.Reply
	key   [wire.MaxName + 3]byte
	turn  uint32
	count *counters
	fair  fairness
}

// verdict says what comes after the fast path.
type verdict int

const (
	reply verdict = iota // the message is complete
	drop                 // nothing is to be sent
	later                // the query needs others, or more than a few microseconds
)

// fast answers a query from what is at hand: the zone and the cache. The message is written into buf while that is long
// enough.
func (s *Server) fast(c *session, packet, buf []byte, client netip.Addr, udp bool, now time.Time) ([]byte, verdict) {
	q, r := &c.query, &c.reply
	parsed := q.Parse(packet)
	if parsed == wire.Drop {
		return nil, drop
	}
	c.turn++
	limit := limitOf(q, udp)
	r.Begin(q, packet, buf, limit)
	c.count.request(udp, client, q.Type)
	if rcode, flags, refused := s.refuses(q, client, parsed); refused {
		c.count.response(fromNobody, rcode)
		s.logs(client, q, rcode)
		return r.Finish(q, rcode, flags, maxUDP), reply
	}
	switch o, rcode, _ := s.own(q, r, c.turn); o {
	case answered:
		if rcode == wire.NXDomain {
			if found := s.searched(q, client); found > 0 {
				return s.alongPath(c, packet, buf, limit, found, client, now)
			}
		}
		c.count.response(fromZone, rcode)
		s.logs(client, q, rcode)
		return r.Finish(q, rcode, flags(rcode != wire.ServFail), maxUDP), reply
	case alias:
		return nil, later
	}
	return s.fromCache(c, client, now)
}

// refuses reports whether a query gets no answer but a code, and the code with its header bits.
func (s *Server) refuses(q *wire.Query, client netip.Addr, parsed wire.Verdict) (rcode, flags uint16, refused bool) {
	switch {
	case !s.allowed(client):
		return wire.Refused, 0, true
	case parsed == wire.Bad:
		return q.Rcode, 0, true
	case q.Class != wire.ClassIN || q.Type == wire.TypeAXFR || q.Type == wire.TypeIXFR:
		return wire.Refused, wire.FlagRA, true
	case q.Type == wire.TypeOPT:
		return wire.FormErr, wire.FlagRA, true
	}
	return 0, 0, false
}

// limitOf is how long a reply may be.
func limitOf(q *wire.Query, udp bool) int {
	if udp {
		return min(int(q.UDPSize), maxUDP)
	}
	return maxTCP
}

// fromCache answers from the cache. An entry that is about to expire is fetched anew meanwhile.
func (s *Server) fromCache(c *session, client netip.Addr, now time.Time) ([]byte, verdict) {
	q := &c.query
	key := cacheKey(c.key[:0], q)
	e := s.cache.Get(key, now)
	if e == nil || e.Expired(now) {
		return nil, later
	}
	c.count.response(fromCached, e.Rcode)
	s.logs(client, q, e.Rcode)
	if e.Hit(now) {
		c.count.prefetch.Add(1)
		s.prefetch(q, string(key))
	}
	return s.finish(c, e, now), reply
}

// finish writes a cached or fetched entry.
func (s *Server) finish(c *session, e *cache.Entry, now time.Time) []byte {
	e.Write(&c.reply, now, c.turn)
	return c.reply.Finish(&c.query, e.Rcode, wire.FlagRA|e.Flags(&c.query), maxUDP)
}

// cacheKey appends what tells one cached reply from another: name, type, and the bits that change it.
func cacheKey(to []byte, q *wire.Query) []byte {
	to = append(to, q.Name()...)
	var bits byte
	if q.DO {
		bits |= 1
	}
	if q.Flags&wire.FlagCD != 0 {
		bits |= 2
	}
	return append(to, byte(q.Type>>8), byte(q.Type), bits)
}
