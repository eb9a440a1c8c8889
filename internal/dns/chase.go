// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"context"
	"fmt"
	"time"

	mdns "github.com/miekg/dns"

	"eastwest/internal/dns/wire"
)

// maxChain is how many aliases are followed.
const maxChain = 10

// answerAlias answers for a name whose records are those of another one, which may be in the cluster or anywhere. If the
// target cannot be looked up, the reply is SERVFAIL: the alias alone would say that the target has no address.
func (s *Server) answerAlias(ctx context.Context, q *wire.Query, packet, target []byte, limit int) []byte {
	asked := new(mdns.Msg)
	if err := asked.Unpack(packet); err != nil {
		return s.failure(packet)
	}
	m := new(mdns.Msg).SetReply(asked)
	m.Authoritative, m.RecursionAvailable, m.Compress = true, true, true
	if err := s.chase(ctx, q, m, target); err != nil {
		s.cfg.Log.Debug("dns alias cannot be followed", "name", asked.Question[0].Name, "err", err)
		return s.failure(packet)
	}
	if out := s.pack(q, m, limit); out != nil {
		return out
	}
	return s.failure(packet)
}

// pack writes a reply that is no longer than the client takes; nil when it cannot be written.
func (s *Server) pack(q *wire.Query, m *mdns.Msg, limit int) []byte {
	if q.EDNS {
		m.SetEdns0(maxUDP, q.DO)
	}
	m.Truncate(limit)
	out, err := m.Pack()
	if err != nil {
		return nil
	}
	return out
}

// chase adds the aliases that lead away from the question's name, and what stands at their end.
func (s *Server) chase(ctx context.Context, q *wire.Query, m *mdns.Msg, target []byte) error {
	owner, ttl := m.Question[0].Name, s.aliasTTL(q)
	hop := sessions.Get().(*session)
	defer sessions.Put(hop)
	for range maxChain {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("follow alias of %s: %w", owner, err)
		}
		name := wire.Text(target)
		m.Answer = append(m.Answer, &mdns.CNAME{
			Hdr:    mdns.RR_Header{Name: owner, Rrtype: mdns.TypeCNAME, Class: mdns.ClassINET, Ttl: ttl},
			Target: name,
		})
		owner = name
		packet := q.About(target)
		if hop.query.Parse(packet) != wire.Good {
			return fmt.Errorf("ask about %s: no valid name", name)
		}
		found, further, err := s.lookup(ctx, hop, packet)
		if err != nil {
			return err
		}
		if further == nil {
			m.Answer = append(m.Answer, found.Answer...)
			m.Ns, m.Rcode = found.Ns, found.Rcode
			return nil
		}
		target, ttl = further, s.aliasTTL(&hop.query)
	}
	return errChain
}

// lookup answers a query in memory: from the zone, or from upstream. For an alias of the zone it returns the target.
func (s *Server) lookup(ctx context.Context, c *session, packet []byte) (*mdns.Msg, []byte, error) {
	c.reply.Begin(&c.query, packet, nil, maxTCP)
	o, rcode, target := s.own(&c.query, &c.reply, 0)
	var out []byte
	switch o {
	case alias:
		return nil, target, nil
	case answered:
		out = c.reply.Finish(&c.query, rcode, flags(true), maxUDP)
	default:
		e, err := s.fetch(ctx, &c.query)
		if err != nil {
			return nil, nil, err
		}
		rcode = e.Rcode
		out = s.finish(c, e, time.Now())
	}
	if rcode != wire.NoError && rcode != wire.NXDomain {
		return nil, nil, fmt.Errorf("ask about %s: %s", wire.Text(c.query.Name()), mdns.RcodeToString[int(rcode)])
	}
	m := new(mdns.Msg)
	if err := m.Unpack(out); err != nil {
		return nil, nil, fmt.Errorf("read answer about %s: %w", wire.Text(c.query.Name()), err)
	}
	return m, nil, nil
}

// aliasTTL is the TTL of the row behind an alias of the zone.
func (s *Server) aliasTTL(q *wire.Query) uint32 {
	if s.cfg.Zone == nil {
		return hostTTL
	}
	if rec := s.cfg.Zone.records.Load(); rec != nil {
		if n := s.cfg.Zone.locate(rec, q); n.service != nil {
			return n.service.ttl
		}
	}
	return s.cfg.Zone.cfg.TTL
}
