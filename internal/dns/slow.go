// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"

	mdns "github.com/miekg/dns"

	"eastwest/internal/dns/cache"
	"eastwest/internal/dns/forward"
	"eastwest/internal/dns/wire"
)

// stalePatience is how long a client waits for a fresh answer while an expired one is at hand (RFC 8767, 5).
const stalePatience = 1800 * time.Millisecond

// later answers a query that the fast path could not, in a goroutine of its own, and hands the message to send. A client
// that has too many such queries under way gets SERVFAIL at once. packet is not kept.
func (s *Server) later(packet []byte, client netip.Addr, udp bool, send func([]byte)) {
	packet = append([]byte(nil), packet...)
	count, began := s.counters[0], time.Now()
	count.misses.Add(1)
	if !s.slow.take(client) {
		count.rejected.Add(1)
		send(s.failure(packet))
		return
	}
	s.workers.do(&s.jobs, func() {
		defer s.slow.release(client)
		message := s.answerSlowly(forward.WithDue(s.asking, queryTimeout), packet, client, udp)
		rcode := uint16(message[3] & 0xf)
		count.response(fromForward, rcode)
		var q wire.Query
		if q.Parse(packet) == wire.Good {
			s.logs(client, &q, rcode)
		}
		send(message)
		count.took(time.Since(began), 1)
		s.tidy()
	})
}

// failure is the reply SERVFAIL.
func (s *Server) failure(packet []byte) []byte {
	var c session
	c.query.Parse(packet)
	c.reply.Begin(&c.query, packet, nil, maxUDP)
	return c.reply.Finish(&c.query, wire.ServFail, wire.FlagRA, maxUDP)
}

// sessions are those of questions that wait for others. A message that was made in one is not part of it.
var sessions = sync.Pool{New: func() any { return new(session) }}

func (s *Server) answerSlowly(ctx context.Context, packet []byte, client netip.Addr, udp bool) []byte {
	c := sessions.Get().(*session)
	defer sessions.Put(c)
	c.turn = uint32(time.Now().UnixNano() >> 10)
	q := &c.query
	if q.Parse(packet) != wire.Good {
		return s.failure(packet)
	}
	limit := limitOf(q, udp)
	c.reply.Begin(q, packet, nil, limit)
	switch o, rcode, target := s.own(q, &c.reply, c.turn); o {
	case alias:
		return s.answerAlias(ctx, q, packet, target, limit)
	case answered:
		return s.answerOwn(ctx, c, packet, client, limit, rcode)
	}
	if s.probed(q) {
		c.reply.Begin(q, packet, nil, limit)
		return c.reply.Finish(q, wire.Refused, wire.FlagRA, maxUDP)
	}
	e, err := s.fetch(ctx, q)
	if err != nil {
		s.cfg.Log.Debug("dns query failed", "name", wire.Text(q.Name()), "err", err)
		return s.failure(packet)
	}
	c.reply.Begin(q, packet, nil, limit)
	return s.finish(c, e, time.Now())
}

// answerOwn answers with what the zone says. Only a search comes here: names of the zone are answered at once.
func (s *Server) answerOwn(ctx context.Context, c *session, packet []byte, client netip.Addr, limit int, rcode uint16) []byte {
	if found := s.searched(&c.query, client); found > 0 && rcode == wire.NXDomain {
		if message := s.walkPath(ctx, c, packet, limit, found); message != nil {
			return message
		}
	}
	return c.reply.Finish(&c.query, rcode, flags(rcode != wire.ServFail), maxUDP)
}

// fetch asks upstream, together with everybody else who asks the same at this moment. While upstream is slow or fails,
// an expired entry has to do.
func (s *Server) fetch(ctx context.Context, q *wire.Query) (*cache.Entry, error) {
	key := string(cacheKey(nil, q))
	old := s.cache.Get([]byte(key), time.Now())
	if old != nil && !old.Expired(time.Now()) {
		return old, nil
	}
	if old != nil && !old.Failed() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, stalePatience)
		defer cancel()
	} else { // there is nothing to wait for but the answer, and that takes less time than the client has
		v, err, _ := s.flights.Do(key, func() (any, error) { return s.exchange(key, question(q)) })
		e, _ := v.(*cache.Entry)
		return e, err
	}
	select {
	case got := <-s.flight(key, question(q)):
		e, _ := got.Val.(*cache.Entry)
		if got.Err != nil || e.Failed() {
			s.counters[0].stale.Add(1)
			return old, nil
		}
		return e, nil
	case <-ctx.Done():
		s.counters[0].stale.Add(1)
		return old, nil
	}
}

// flightResult is what a flight ends with.
type flightResult struct {
	Val any
	Err error
}

// flight sends a question upstream unless it is on its way already. It goes on when whoever asked has gone: its answer
// serves the next one.
func (s *Server) flight(key string, m *mdns.Msg) <-chan flightResult {
	out := make(chan flightResult, 1)
	s.jobs.Go(func() {
		v, err, _ := s.flights.Do(key, func() (any, error) { return s.exchange(key, m) })
		out <- flightResult{v, err}
	})
	return out
}

// exchange asks upstream and stores the answer. A failure is stored only where it drives out no answer.
func (s *Server) exchange(key string, m *mdns.Msg) (*cache.Entry, error) {
	response, err := s.forwarderOf([]byte(key[:len(key)-3])).Exchange(s.asking, m) // the key begins with the name
	if err != nil {
		return nil, err
	}
	now := time.Now()
	e, err := cache.NewEntry(response, now)
	if err != nil {
		return nil, err
	}
	if e.Cacheable() && (!e.Failed() || s.cache.Get([]byte(key), now) == nil) {
		s.cache.Put([]byte(key), e, now)
	}
	return e, nil
}

// prefetch fetches an entry anew before it expires.
func (s *Server) prefetch(q *wire.Query, key string) {
	s.flight(key, question(q))
}

// question writes a query for upstream. The name goes out in lower case: one entry serves every spelling.
func question(q *wire.Query) *mdns.Msg {
	m := new(mdns.Msg)
	m.Question = []mdns.Question{{Name: wire.Text(q.Name()), Qtype: q.Type, Qclass: q.Class}}
	m.CheckingDisabled = q.Flags&wire.FlagCD != 0
	m.SetEdns0(maxUDP, q.DO)
	return m
}

var errChain = errors.New("too many aliases one after the other")
