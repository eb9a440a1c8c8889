// SPDX-License-Identifier: Apache-2.0

package connections

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"eastwest/internal/kernel/conntrack"
	"eastwest/internal/table"
)

// StreamsConfig is what Streams needs besides.
type StreamsConfig struct {
	Config
	// Listed yields the address of every endpoint that an EndpointSlice lists, in whatever condition, more than once if it likes. Rows have fewer: a
	// Service may have ports that its slices have no names for yet.
	Listed func() iter.Seq[netip.Addr]
	// Grace is how long an endpoint has to be gone. Slices change one after the other: one that moves is in none for a moment.
	Grace time.Duration
	// Elsewhere has the connections as well; nil where connection tracking alone does.
	Elsewhere Forgetter
	Log       *slog.Logger
}

// Forgetter is a backend whose kernel has connections beside those of connection tracking.
type Forgetter interface {
	// Forget ends the connections from a frontend to an endpoint that is gone. It is safe for concurrent use.
	Forget(ctx context.Context, protocol table.Protocol, to, endpoint netip.AddrPort) error
}

const (
	leastRest = 2 * time.Second // between two looks at the kernel's table
	restTimes = 9               // and how many times longer than the last one took at least
	recheck   = time.Minute     // how often an endpoint is looked for that its Service lost and slices list
	longPause = time.Minute     // after errors
	mostPast  = 1 << 16
)

// Streams removes connections of protocols that have a beginning and an end, to endpoints that are gone. Offer and Run may be
// used at the same time.
type Streams struct {
	config StreamsConfig

	mu   sync.Mutex
	want table.Table[table.Service]
	// all is when every connection is compared with the table; zero before there is one, and when that is done.
	all time.Time
	// lost are the addresses of endpoints that rows do not have any more, and when they are looked for.
	lost map[netip.Addr]time.Time
	past map[netip.AddrPort]bool // places that Services had; of a node port the address is unspecified
	sctp bool                    // some Service has or had SCTP
	// planned is when there is something to look for; zero before the first table.
	planned time.Time
	wake    chan struct{}
}

// NewStreams makes one; Run starts it.
func NewStreams(config StreamsConfig) *Streams {
	return &Streams{config: config, lost: map[netip.Addr]time.Time{}, past: map[netip.AddrPort]bool{}, wake: make(chan struct{}, 1)}
}

// Offer hands over the table that the kernel has now; changed names what differs from the one before.
func (s *Streams) Offer(want table.Table[table.Service], changed table.Keys) {
	s.mu.Lock()
	defer s.mu.Unlock()
	names := changed.Names
	if changed.All {
		names = keysOf(s.want, want)
	}
	due := time.Now().Add(s.config.Grace)
	for _, name := range names {
		old, _ := s.want.Get(name)
		row, _ := want.Get(name)
		if len(row.Elsewhere) == 0 { // another proxy's connections are its own
			s.lose(old, row, due)
		}
	}
	for _, name := range names { // what one Service lost may be another's
		row, _ := want.Get(name)
		s.keep(row)
	}
	s.want = want
	if s.planned.IsZero() {
		s.all = due
	}
	if s.planned.IsZero() || len(s.lost) > 0 && due.Before(s.planned) {
		s.planned = due
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// lose notes what a row no longer has.
func (s *Streams) lose(old, row table.Service, due time.Time) {
	var has endpoints
	for list := range listsOf(row) {
		has = append(has, list)
	}
	for list := range listsOf(old) {
		for _, e := range list { // one that has another port is kept below
			if noted, ok := s.lost[e.Addr()]; !has.has(e) && (!ok || due.Before(noted)) {
				s.lost[e.Addr()] = due
			}
		}
	}
	for _, f := range old.Frontends {
		if slices.ContainsFunc(row.Frontends, func(g table.Frontend) bool { return place(g) == place(f) }) {
			continue
		}
		if len(s.past) == mostPast { // connections through what was given back so long ago time out
			clear(s.past)
		}
		s.past[place(f)] = true
	}
}

// keep takes back what a row has.
func (s *Streams) keep(row table.Service) {
	if len(s.lost) > 0 {
		for addr := range endpointsOf(row) {
			delete(s.lost, addr)
		}
	}
	for _, f := range row.Frontends {
		delete(s.past, place(f))
		s.sctp = s.sctp || f.Protocol == table.SCTP
	}
}

// Run removes connections until ctx ends.
func (s *Streams) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var pause time.Duration
	var next time.Time // the next look at the earliest
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.wake: // something may be due earlier
		case <-timer.C:
			begin := time.Now()
			err := s.Look(ctx)
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if pause = min(2*pause+leastRest, longPause); err == nil {
				pause = 0
			}
			rest := max(pause, leastRest, restTimes*time.Since(begin))
			next = time.Now().Add(rest)
			if err != nil {
				s.config.Log.Error("remove connections to endpoints that are gone", "retry", rest, "err", err)
			}
		}
		timer.Reset(max(time.Until(next), s.plan()))
	}
}

// plan returns in how long there is something to look for.
func (s *Streams) plan() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	next := now.Add(time.Hour)
	if !s.all.IsZero() {
		next = s.all
	}
	for _, due := range s.lost {
		if due.Before(next) {
			next = due
		}
	}
	if !s.planned.IsZero() {
		s.planned = next
	}
	return next.Sub(now)
}

// Look removes the connections to endpoints that have been gone for long enough.
func (s *Streams) Look(ctx context.Context) error {
	l := s.begin()
	if !l.all && len(l.gone) > 0 {
		for addr := range l.listed() {
			delete(l.gone, addr)
		}
	}
	if !l.all && len(l.gone) == 0 {
		return nil
	}
	err := s.look(ctx, l)
	s.end(l, err == nil)
	return err
}

func (s *Streams) look(ctx context.Context, l *look) (err error) {
	if l.own, err = s.config.own(ctx); err != nil {
		return err
	}
	for _, protocol := range [...]table.Protocol{table.TCP, table.SCTP} {
		if protocol == table.SCTP && !l.sctp {
			continue
		}
		if err := s.remove(ctx, protocol, l); err != nil {
			return fmt.Errorf("remove %s connections: %w", protocol, err)
		}
	}
	return nil
}

// begin takes what is due. What is listed after all is looked for again later: its Service does not tell when it goes.
func (s *Streams) begin() *look {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	l := &look{
		want: s.want, all: !s.all.IsZero() && !now.Before(s.all), gone: map[netip.Addr]bool{}, again: now.Add(recheck),
		past: maps.Clone(s.past), services: s.config.ServiceCIDRs, listed: s.config.Listed,
	}
	l.sctp = l.all || s.sctp
	for addr, due := range s.lost {
		if !now.Before(due) {
			l.gone[addr], s.lost[addr] = true, l.again
		}
	}
	return l
}

// end forgets what is done, and has the rest looked for again.
func (s *Streams) end(l *look, done bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if l.all && done {
		s.all = time.Time{}
	}
	for addr := range l.gone {
		switch {
		case !s.lost[addr].Equal(l.again): // it was back, and may have gone again
		case done:
			delete(s.lost, addr)
		default:
			s.lost[addr] = time.Now()
		}
	}
}

func (s *Streams) remove(ctx context.Context, protocol table.Protocol, l *look) error {
	ways := map[conntrack.Entry]bool{}
	which := conntrack.Selection{Protocol: uint8(protocol), Routes: l.routes(), Stale: l.stale}
	if s.config.Elsewhere == nil {
		which.Translated = true // else conntrack does not know who translates
	} else {
		which.Stale = func(e conntrack.Entry) bool {
			stale := l.stale(e)
			if stale {
				ways[e] = true
			}
			return stale
		}
	}
	if err := s.config.delete(ctx, which); err != nil {
		return err
	}
	for way := range ways {
		if err := s.config.Elsewhere.Forget(ctx, protocol, way.To, way.Endpoint); err != nil {
			return err
		}
	}
	return nil
}
