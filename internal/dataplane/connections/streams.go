// SPDX-License-Identifier: Apache-2.0

package connections

import (
	"context"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"net/netip"
	"sync"
	"time"

	"eastwest/internal/kernel/conntrack"
	"eastwest/internal/table"
)

// StreamsConfig is what Streams needs besides.
type StreamsConfig struct {
	Config
	// Listed yields the address of every endpoint that an EndpointSlice lists, in whatever condition, more than once if it likes. Rows have fewer: a
	// Service may have ports that its slices have no names for yet. nil: rows alone say it.
	Listed func() iter.Seq[netip.Addr]
	// Grace is how long an endpoint has to be gone. Slices change one after the other: one that moves is in none for a moment.
	Grace time.Duration
	// Forget ends the connections from a frontend to an endpoint, where the kernel has them elsewhere as well. May be nil.
	Forget func(ctx context.Context, protocol table.Protocol, to, endpoint netip.AddrPort) error
	Log    *slog.Logger
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

	mu      sync.Mutex
	offered bool
	want    table.Table[table.Service]
	// all has every connection compared with the table, at the time.
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
	return &Streams{config: config, all: time.Now().Add(config.Grace), lost: map[netip.Addr]time.Time{}, past: map[netip.AddrPort]bool{}, wake: make(chan struct{}, 1)}
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
		if len(row.Elsewhere) == 0 && !sameRow(old, row) { // another proxy's connections are its own
			s.lose(old, row, due)
		}
	}
	for _, name := range names { // what one Service lost may be another's
		row, _ := want.Get(name)
		s.keep(row)
	}
	s.want, s.offered = want, true
	if len(s.lost) > 0 && due.Before(s.planned) || s.planned.IsZero() {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// sameRow reports whether two rows are one: tables share those that have not changed.
func sameRow(a, b table.Service) bool {
	return len(a.Frontends) > 0 && len(a.Frontends) == len(b.Frontends) && &a.Frontends[0] == &b.Frontends[0]
}

// lose notes what a row no longer has.
func (s *Streams) lose(old, row table.Service, due time.Time) {
	if len(old.Frontends) == 0 {
		return
	}
	var has endpoints
	for list := range listsOf(row) {
		has = append(has, list)
	}
	for list := range listsOf(old) {
		for _, e := range list { // one with another port is kept below
			if noted, ok := s.lost[e.Addr()]; !has.has(e) && (!ok || due.Before(noted)) {
				s.lost[e.Addr()] = due
			}
		}
	}
	if len(s.past) > mostPast { // connections through what was given back so long ago time out
		clear(s.past)
	}
	for _, f := range old.Frontends {
		s.past[place(f)] = true
	}
}

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
	if s.offered && !s.all.IsZero() {
		next = s.all
	}
	for _, due := range s.lost {
		if due.Before(next) {
			next = due
		}
	}
	if s.offered {
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
	err := s.clear(ctx, l)
	s.end(l, err == nil)
	return err
}

func (s *Streams) clear(ctx context.Context, l *look) (err error) {
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
		want: s.want, all: s.offered && !s.all.IsZero() && !now.Before(s.all), gone: map[netip.Addr]bool{}, again: now.Add(recheck),
		past: maps.Clone(s.past), services: s.config.ServiceCIDRs, listed: s.config.Listed,
	}
	l.sctp = l.all || s.sctp
	if l.listed == nil {
		l.listed = func() iter.Seq[netip.Addr] { return listedBy(l.want) }
	}
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
	translated := s.config.Forget == nil // else conntrack does not know who translates
	err := s.config.delete(ctx, conntrack.Selection{
		Protocol: uint8(protocol), Translated: translated, Routes: l.routes(), Stale: func(e conntrack.Entry) bool {
			stale := l.stale(e)
			if stale && s.config.Forget != nil {
				ways[e] = true
			}
			return stale
		},
	})
	for way := range ways {
		if err == nil {
			err = s.config.Forget(ctx, protocol, way.To, way.Endpoint)
		}
	}
	return err
}
