// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"bytes"
	"context"
	"net/netip"
	"slices"
	"sync"

	mdns "github.com/miekg/dns"

	"eastwest/internal/dns/config"
	"eastwest/internal/dns/forward"
	"eastwest/internal/dns/wire"
)

// rules is a configuration, prepared. Immutable but for what its forwarders learn.
type rules struct {
	hosts   map[string][]byte // names in wire form → address records
	aliases map[string][]byte // names in wire form → targets in wire form
	stubs   []stub            // longest zone first
	log     string

	noSearch bool // look-ups through search paths are left to the clients
	stop     context.CancelFunc
	running  sync.WaitGroup
}

type stub struct {
	zone    []byte // in wire form
	forward *forward.Forwarder
}

// hostTTL is that of hosts entries, and of aliases that rewrites make: as CoreDNS's.
const hostTTL = 3600

// Configure puts a configuration, which config.Parse has checked, in the place of the last one. What was cached under the
// last one is forgotten. It may be called while the server runs.
func (s *Server) Configure(c config.Config) {
	next := &rules{hosts: map[string][]byte{}, aliases: map[string][]byte{}, log: c.QueryLog, noSearch: c.Autopath != nil && !*c.Autopath}
	byName := map[string][]netip.Addr{}
	for _, h := range c.Hosts {
		for _, name := range h.Names {
			if key, err := wire.Name(name); err == nil {
				byName[string(key)] = append(byName[string(key)], h.Address)
			}
		}
	}
	for key, addrs := range byName {
		v4, v6 := addressRecords(addrs, hostTTL)
		next.hosts[key] = append(v4, v6...)
	}
	for _, r := range c.Rewrites {
		from, err := wire.Name(r.From)
		to, err2 := wire.Name(r.To)
		if err == nil && err2 == nil {
			next.aliases[string(from)] = to
		}
	}
	next.startStubs(s, c)
	s.forward.SetUpstreams(append(slices.Clone(c.Upstreams), s.cfg.Upstreams...), c.Policy)
	if old := s.rules.Swap(next); old != nil {
		old.end()
	}
	s.configureTLS(c.TLS)
	s.cache.Clear()
	s.paths.Clear()
}

func (r *rules) startStubs(s *Server, c config.Config) {
	var ctx context.Context
	ctx, r.stop = context.WithCancel(s.asking)
	for _, z := range c.StubZones {
		zone, err := wire.Name(z.Zone)
		if err != nil {
			continue
		}
		f := forward.New(forward.Config{Upstreams: z.Upstreams, Policy: c.Policy, Self: s.Addrs, Log: s.cfg.Log})
		at := 0
		for at < len(r.stubs) && len(r.stubs[at].zone) > len(zone) {
			at++
		}
		r.stubs = append(r.stubs[:at], append([]stub{{zone, f}}, r.stubs[at:]...)...)
		r.running.Go(func() { _ = f.Run(ctx) })
	}
}

// end stops what goes on in the background.
func (r *rules) end() {
	r.stop()
	r.running.Wait()
}

// own answers from the rules and from the zone; see Zone.answer.
func (s *Server) own(q *wire.Query, r *wire.Reply, turn uint32) (outcome, uint16, []byte) {
	if rules := s.rules.Load(); rules != nil {
		if records, ok := rules.hosts[string(q.Name())]; ok {
			writeHostRecords(q, r, records)
			return answered, wire.NoError, nil
		}
		if target, ok := rules.aliases[string(q.Name())]; ok {
			return alias, wire.NoError, target
		}
	}
	if s.cfg.Zone == nil {
		return foreign, 0, nil
	}
	return s.cfg.Zone.answer(q, r, turn)
}

// writeHostRecords writes the address records of the family asked for; none is no data.
func writeHostRecords(q *wire.Query, r *wire.Reply, records []byte) {
	for at := 0; at < len(records); {
		rr, ok := wire.ReadRecord(records, at)
		if !ok {
			return
		}
		if rr.Type == q.Type || q.Type == wire.TypeANY {
			if !r.Fits(rr.End - at) {
				r.Truncate()
				return
			}
			r.Buf = append(r.Buf, records[at:rr.End]...)
			r.Count(wire.Answer, 1)
		}
		at = rr.End
	}
}

// forwarderOf returns who asks about a name.
func (s *Server) forwarderOf(name []byte) *forward.Forwarder {
	if rules := s.rules.Load(); rules != nil {
		for _, stub := range rules.stubs {
			if below(name, stub.zone) {
				return stub.forward
			}
		}
	}
	return s.forward
}

// below reports whether a name is a zone, or in it; both in wire form.
func below(name, zone []byte) bool {
	for len(name) >= len(zone) {
		if bytes.Equal(name, zone) {
			return true
		}
		if name[0] == 0 {
			return false
		}
		name = name[1+int(name[0]):]
	}
	return false
}

// probed tells the forwarders about a question; see forward.Forwarder.Probe.
func (s *Server) probed(q *wire.Query) bool {
	name := wire.Text(q.Name())
	if s.forward.Probe(name, q.Type) {
		return true
	}
	if rules := s.rules.Load(); rules != nil {
		for _, stub := range rules.stubs {
			if stub.forward.Probe(name, q.Type) {
				return true
			}
		}
	}
	return false
}

// logs writes a line of the query log.
func (s *Server) logs(client netip.Addr, q *wire.Query, rcode uint16) {
	rules := s.rules.Load()
	if rules == nil || rules.log == "" || rules.log == "none" {
		return
	}
	if rules.log == "errors" && (rcode == wire.NoError || rcode == wire.NXDomain) {
		return
	}
	s.cfg.Log.Warn("dns query", "client", client, "name", wire.Text(q.Name()), "type", mdns.Type(q.Type).String(), "rcode", mdns.RcodeToString[int(rcode)])
}
