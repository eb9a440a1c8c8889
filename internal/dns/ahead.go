// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"time"

	mdns "github.com/miekg/dns"

	"eastwest/internal/dns/wire"
)

// What most queries miss is one answer from outside. The goroutine that received the query asks for it, and the one that
// reads the response answers the client, so that no other has to be woken in between.

// begin asks upstream for what a query misses. False means that it needs more than that.
func (s *Server) begin(w *waiting) bool {
	c := sessions.Get().(*session)
	defer sessions.Put(c)
	q := &c.query
	if q.Parse(w.packet) != wire.Good || q.Type == wire.TypeHINFO {
		return false // or one of our own probes
	}
	c.reply.Begin(q, w.packet, nil, limitOf(q, w.udp))
	switch o, rcode, _ := s.own(q, &c.reply, 0); {
	case o == foreign:
		return s.beginForeign(w, q)
	case o == answered && rcode == wire.NXDomain:
		if found := s.searched(q, w.client); found > 0 && !s.inCluster(c, found) {
			return s.search(w, s.candidates(q, found)[2:])
		}
	}
	return false
}

// beginForeign asks about the name of a query. An expired entry, which may have to do, is left to others.
func (s *Server) beginForeign(w *waiting, q *wire.Query) bool {
	key := cacheKey(nil, q)
	if s.cache.Get(key, time.Now()) != nil {
		return false
	}
	s.ask(string(key), question(q), func(got fetched) {
		s.answerWith(w, func(c *session) []byte {
			if got.err != nil {
				s.cfg.Log.Debug("dns query failed", "name", wire.Text(c.query.Name()), "err", got.err)
				return s.failure(w.packet)
			}
			return s.finish(c, got.entry, time.Now())
		})
	})
	return true
}

// answerWith finishes a query with the message that write makes.
func (s *Server) answerWith(w *waiting, write func(*session) []byte) {
	if !w.udp { // a client that does not read would have others wait
		s.workers.do(&s.jobs, func() { s.finished(w, s.written(w, write)) })
		return
	}
	s.finished(w, s.written(w, write))
}

func (s *Server) written(w *waiting, write func(*session) []byte) []byte {
	c := sessions.Get().(*session)
	defer sessions.Put(c)
	c.turn = uint32(time.Now().UnixNano() >> 10)
	c.query.Parse(w.packet)
	c.reply.Begin(&c.query, w.packet, nil, limitOf(&c.query, w.udp))
	return write(c)
}

// search looks for the first of some names outside that exists, and answers a look-up through a search path with it. False
// means that one of them needs more than a question upstream.
func (s *Server) search(w *waiting, names [][]byte) bool {
	for len(names) > 0 {
		q, ok := s.outside(w, names[0])
		if !ok {
			return false
		}
		key, now := string(cacheKey(nil, q)), time.Now()
		switch e := s.cache.Get([]byte(key), now); {
		case e == nil:
			s.ask(key, question(q), func(got fetched) { s.searchOn(w, names, got) })
			return true
		case e.Expired(now) || e.Rcode != wire.NXDomain:
			return false
		}
		names = names[1:]
	}
	s.answerWith(w, func(c *session) []byte { return s.replyNone(c, w.packet, limitOf(&c.query, w.udp), true) })
	return true
}

// outside returns the question about another name; not ok if that is none of upstream's.
func (s *Server) outside(w *waiting, name []byte) (*wire.Query, bool) {
	c, q := sessions.Get().(*session), new(wire.Query)
	defer sessions.Put(c)
	c.query.Parse(w.packet)
	packet := c.query.About(name)
	if q.Parse(packet) != wire.Good {
		return nil, false
	}
	c.reply.Begin(q, packet, nil, maxTCP)
	o, _, _ := s.own(q, &c.reply, 0)
	return q, o == foreign
}

// searchOn goes on with a search when it is known what the first of the names has.
func (s *Server) searchOn(w *waiting, names [][]byte, got fetched) {
	switch {
	case got.err != nil || got.entry.Failed(): // the client has to go through its path itself
		s.answerWith(w, func(c *session) []byte { return s.replyNone(c, w.packet, limitOf(&c.query, w.udp), false) })
	case got.entry.Rcode == wire.NoError:
		s.answerWith(w, func(c *session) []byte { return s.replyAlias(c, w, names[0], got.message) })
	case !s.search(w, names[1:]):
		s.beside(w)
	}
}

// replyNone says that the first name of a search path does not exist, and keeps that if it holds for the whole path.
func (s *Server) replyNone(c *session, packet []byte, limit int, keep bool) []byte {
	c.reply.Begin(&c.query, packet, nil, limit)
	_, rcode, _ := s.own(&c.query, &c.reply, c.turn)
	none := c.reply.Finish(&c.query, rcode, flags(rcode != wire.ServFail), maxUDP)
	if m := new(mdns.Msg); keep && rcode == wire.NXDomain && m.Unpack(none) == nil {
		s.keepPath(&c.query, m)
	}
	return none
}

// replyAlias answers a search with an alias to a name outside, and what that name has; the message may be read by others, too.
func (s *Server) replyAlias(c *session, w *waiting, name []byte, found *mdns.Msg) []byte {
	m := new(mdns.Msg)
	m.Question = question(&c.query).Question
	m.Answer = append(append(make([]mdns.RR, 0, 1+len(found.Answer)), &mdns.CNAME{
		Hdr:    mdns.RR_Header{Name: m.Question[0].Name, Rrtype: mdns.TypeCNAME, Class: mdns.ClassINET, Ttl: s.aliasTTL(&c.query)},
		Target: wire.Text(name),
	}), found.Answer...)
	m.Ns = found.Ns
	if out := s.replyPath(c, w.packet, m, limitOf(&c.query, w.udp)); out != nil {
		return out
	}
	return s.failure(w.packet)
}
