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
	reply wire.Reply
	key   [wire.MaxName + 3]byte
	turn  uint32
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
	r.Begin(q, packet, buf, limitOf(q, udp))
	switch {
	case !s.allowed(client):
		return r.Finish(q, wire.Refused, 0, maxUDP), reply
	case parsed == wire.Bad:
		return r.Finish(q, q.Rcode, 0, maxUDP), reply
	case q.Class != wire.ClassIN || q.Type == wire.TypeAXFR || q.Type == wire.TypeIXFR:
		return r.Finish(q, wire.Refused, wire.FlagRA, maxUDP), reply
	case q.Type == wire.TypeOPT:
		return r.Finish(q, wire.FormErr, wire.FlagRA, maxUDP), reply
	}
	if s.cfg.Zone != nil {
		switch o, rcode, _ := s.cfg.Zone.answer(q, r, c.turn); o {
		case answered:
			return r.Finish(q, rcode, flags(rcode != wire.ServFail), maxUDP), reply
		case alias:
			return nil, later
		}
	}
	return s.fromCache(c, now)
}

// limitOf is how long a reply may be.
func limitOf(q *wire.Query, udp bool) int {
	if udp {
		return min(int(q.UDPSize), maxUDP)
	}
	return maxTCP
}

// fromCache answers from the cache. An entry that is about to expire is fetched anew meanwhile.
func (s *Server) fromCache(c *session, now time.Time) ([]byte, verdict) {
	q := &c.query
	key := cacheKey(c.key[:0], q)
	e := s.cache.Get(key, now)
	if e == nil || e.Expired(now) {
		return nil, later
	}
	if e.Hit(now) {
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
