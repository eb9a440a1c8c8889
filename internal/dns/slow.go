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

// waiting is a query whose answer others have to give first.
type waiting struct {
	packet []byte
	client netip.Addr
	udp    bool
	began  time.Time
	send   func([]byte)
}

// later answers a query that the fast path could not, and hands the message to send. A client that has too many such
// queries under way gets SERVFAIL at once. packet is not kept.
func (s *Server) later(packet []byte, client netip.Addr, udp bool, send func([]byte)) {
	w := &waiting{append([]byte(nil), packet...), client, udp, time.Now(), send}
	s.counters[0].misses.Add(1)
	if !s.slow.take(client) {
		s.counters[0].rejected.Add(1)
		send(s.failure(w.packet))
		return
	}
	s.jobs.Add(1)
	if !s.begin(w) {
		s.beside(w)
	}
}

// beside answers a query in a goroutine of its own.
func (s *Server) beside(w *waiting) {
	s.workers.do(&s.jobs, func() {
		s.finished(w, s.answerSlowly(forward.WithDue(s.asking, queryTimeout), w.packet, w.client, w.udp))
	})
}

// finished sends the answer to a query that waited. Whoever is asked over TCP may have to wait for the client to read.
func (s *Server) finished(w *waiting, message []byte) {
	count, rcode := s.counters[0], uint16(message[3]&0xf)
	count.response(fromForward, rcode)
	var q wire.Query
	if q.Parse(w.packet) == wire.Good {
		s.logs(w.client, &q, rcode)
	}
	w.send(message)
	count.took(time.Since(w.began), 1)
	s.slow.release(w.client)
	s.jobs.Done()
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

// fetch asks upstream and waits. While upstream is slow or fails, an expired entry has to do.
func (s *Server) fetch(ctx context.Context, q *wire.Query) (*cache.Entry, error) {
	key, now := string(cacheKey(nil, q)), time.Now()
	old := s.cache.Get([]byte(key), now)
	if old != nil && !old.Expired(now) {
		return old, nil
	}
	got := make(chan fetched, 1)
	s.ask(key, question(q), func(f fetched) { got <- f })
	if old == nil || old.Failed() { // there is nothing to wait for but the answer, and that takes less time than the client has
		f := <-got
		return f.entry, f.err
	}
	patience := time.NewTimer(stalePatience)
	defer patience.Stop()
	select {
	case f := <-got:
		if f.err == nil && !f.entry.Failed() {
			return f.entry, nil
		}
	case <-patience.C:
	case <-ctx.Done():
	}
	s.counters[0].stale.Add(1)
	return old, nil
}

// fetched is what upstream has about a question. Many read it: it is not to be changed.
type fetched struct {
	entry   *cache.Entry
	message *mdns.Msg
	err     error
}

// flights are the questions that are on their way upstream, by cache key, and who wants to know.
type flights struct {
	mu  sync.Mutex
	all map[string][]func(fetched)
}

// ask sends a question upstream unless it is on its way already, and stores the answer. then is called in the goroutine
// that reads it, and must not wait for anything. The question goes on when whoever asked has gone: its answer serves the next one.
func (s *Server) ask(key string, m *mdns.Msg, then func(fetched)) {
	f := &s.flights
	f.mu.Lock()
	others, flying := f.all[key]
	f.all[key] = append(others, then)
	f.mu.Unlock()
	if flying {
		return
	}
	s.forwarderOf([]byte(key[:len(key)-3])).Start(s.asking, m, func(response *mdns.Msg, err error) { // the key begins with the name
		got := fetched{message: response, err: err}
		if err == nil {
			got.entry, got.err = s.store(key, response)
		}
		f.mu.Lock()
		all := f.all[key]
		delete(f.all, key)
		f.mu.Unlock()
		for _, then := range all {
			then(got)
		}
	})
}

// store prepares and remembers a response. A failure is stored only where it drives out no answer.
func (s *Server) store(key string, response *mdns.Msg) (*cache.Entry, error) {
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
	s.ask(key, question(q), func(fetched) {})
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
