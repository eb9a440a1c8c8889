// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"bytes"
	"context"
	"net/netip"
	"time"

	mdns "github.com/miekg/dns"

	"eastwest/internal/dns/cache"
	"eastwest/internal/dns/wire"
)

// A pod asks for www.example.com by going through its search path: first www.example.com.NAMESPACE.svc.DOMAIN, then
// www.example.com.svc.DOMAIN, www.example.com.DOMAIN, the searches of its node, and www.example.com in the end. Where the
// namespace of the pod is known, the first of these questions gets the answer that the pod is after: an alias to the
// first name of the path that exists, and what is behind it.

// minSearched is how many labels a name has that is looked for elsewhere. One of a single label, a service's, can be in
// the pod's own namespace only, and is not asked about outside.
const minSearched = 2

// searched returns how many labels of a question are the name that a pod looks for, when the rest is the first entry of
// its search path; 0 when it is none.
func (s *Server) searched(q *wire.Query, client netip.Addr) int {
	z := s.cfg.Zone
	if z == nil || s.cfg.NamespaceOf == nil || q.Type != wire.TypeA && q.Type != wire.TypeAAAA {
		return 0
	}
	below := q.Labels - z.labels
	if below < minSearched+2 || !z.inside(q) || string(q.Label(below-1)) != "svc" {
		return 0
	}
	if rules := s.rules.Load(); rules != nil && rules.noSearch {
		return 0
	}
	if namespace := s.cfg.NamespaceOf(client); namespace == "" || string(q.Label(below-2)) != namespace {
		return 0
	}
	return below - 2
}

// alongPath answers a search from the answers that were found before. Names of the cluster come first, and may have been
// made since.
func (s *Server) alongPath(c *session, packet, buf []byte, limit int, found int, client netip.Addr, now time.Time) ([]byte, verdict) {
	if s.inCluster(c, found) {
		return nil, later
	}
	e := s.paths.Get(cacheKey(c.key[:0], &c.query), now)
	if e == nil || e.Expired(now) {
		return nil, later
	}
	c.count.response(fromCached, e.Rcode)
	s.logs(client, &c.query, e.Rcode)
	c.reply.Begin(&c.query, packet, buf, limit)
	return s.finish(c, e, now), reply
}

// inCluster reports whether the name that is looked for is one of the cluster, in the entries of the path behind the first.
func (s *Server) inCluster(c *session, found int) bool {
	rec := s.cfg.Zone.records.Load()
	if rec == nil {
		return true // who knows
	}
	for _, end := range [...]int{found + 1, found + 2} {
		c.query.Without(&c.other, found, end)
		if n := s.cfg.Zone.locate(rec, &c.other); n.kind != missing && n.kind != elsewhere {
			return true
		}
	}
	return false
}

// walkPath finds the first name of a search path that exists and answers with it, or says that none does. It is
// nil when that cannot be said: then the pod goes through its path itself.
func (s *Server) walkPath(ctx context.Context, c *session, packet []byte, limit, found int) []byte {
	q := &c.query
	names := s.candidates(q, found)
	if !s.inCluster(c, found) {
		names = names[2:]
	}
	for _, name := range names {
		m := new(mdns.Msg)
		m.Question = question(q).Question
		if err := s.chase(ctx, q, m, name); err != nil {
			s.cfg.Log.Debug("dns search path not walked", "name", m.Question[0].Name, "err", err)
			return nil
		}
		if m.Rcode != mdns.RcodeSuccess {
			continue
		}
		if below(name, s.cfg.Zone.domain) {
			return s.replyOwn(q, packet, m, limit)
		}
		return s.replyPath(c, packet, m, limit)
	}
	return s.replyNone(c, packet, limit, true)
}

// replyOwn answers with what a name of the cluster has. It is kept nowhere: it may change at any time.
func (s *Server) replyOwn(q *wire.Query, packet []byte, found *mdns.Msg, limit int) []byte {
	asked := new(mdns.Msg)
	if asked.Unpack(packet) != nil {
		return nil
	}
	m := new(mdns.Msg).SetReply(asked)
	m.Authoritative, m.RecursionAvailable, m.Compress = true, true, true
	m.Answer, m.Ns = found.Answer, found.Ns
	return s.pack(q, m, limit)
}

// replyPath answers with what was found outside, and keeps it.
func (s *Server) replyPath(c *session, packet []byte, m *mdns.Msg, limit int) []byte {
	e := s.keepPath(&c.query, m)
	if e == nil {
		return nil
	}
	c.reply.Begin(&c.query, packet, nil, limit)
	return s.finish(c, e, time.Now())
}

// keepPath prepares and remembers an answer that came from outside, or that there is none; nil if it cannot be written.
func (s *Server) keepPath(q *wire.Query, m *mdns.Msg) *cache.Entry {
	now := time.Now()
	m.Extra = nil // an OPT record is every client's own
	e, err := cache.NewEntry(m, now)
	if err != nil {
		return nil
	}
	if e.Cacheable() {
		s.paths.Put(cacheKey(nil, q), e, now)
	}
	return e
}

// candidates are the names of the path behind its first entry, in wire form.
func (s *Server) candidates(q *wire.Query, found int) [][]byte {
	sought := bytes.Clone(q.Span(0, found))
	names := [][]byte{
		append(bytes.Clone(sought), q.From(found+1)...),
		append(bytes.Clone(sought), q.From(found+2)...),
	}
	for _, search := range s.forward.Search() {
		suffix, err := wire.Name(search)
		if err == nil && len(sought)+len(suffix) <= wire.MaxName && !bytes.Equal(suffix, []byte{0}) {
			names = append(names, append(bytes.Clone(sought), suffix...))
		}
	}
	return append(names, append(sought, 0))
}
