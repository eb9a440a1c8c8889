// SPDX-License-Identifier: Apache-2.0

// Package connections makes open connections follow the Services. A datagram protocol never notices that its endpoint is
// gone: the kernel keeps sending to where the first datagram went. A client of a stream whose endpoint is gone waits for
// minutes. So after a backend wrote a change, the connections are removed that point to something that is gone, and the
// datagrams of those that went past a frontend that is new.
//
//	Apply ─▶ backend.Apply ─▶ what frontends lost, compared with the table before ─▶ conntrack: UDP
//	                                └─▶ Applied ─▶ Streams, at leisure ─▶ conntrack: TCP, SCTP
//
// Endpoints that still serve while they terminate keep their datagrams, and streams all endpoints that slices list in whatever
// condition: an endpoint finishes its requests on them. The next packet of a stream that was removed goes to an endpoint
// that knows nothing of it and resets it, or is refused where there is none.
package connections

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"eastwest/internal/dataplane"
	"eastwest/internal/kernel/conntrack"
	"eastwest/internal/table"
)

// Kernel is what is needed of connection tracking.
type Kernel interface {
	Delete(ctx context.Context, which conntrack.Selection) (int, error)
	Addresses(ctx context.Context) (map[netip.Addr]bool, error)
}

// Config is what a Backend and Streams need.
type Config struct {
	Kernel       Kernel
	ServiceCIDRs *dataplane.Ranges                             // connections to addresses in them that nobody has are removed when everything is compared
	Observe      func(removed table.Count, took time.Duration) // told after every look at the kernel's table; may be nil
	// Applied is told what the backend wrote, for Streams: those of its rows that are gone have to be out of the kernel
	// before a connection is removed, or its next packet goes where the last one went. May be nil.
	Applied func(want table.Table[table.Service], changed table.Keys)
}

// Backend is a services dataplane with another one inside. It is not safe for concurrent use.
type Backend struct {
	dataplane.Dataplane[table.Service]
	applied func(table.Table[table.Service], table.Keys)
	follow  follower
}

var _ dataplane.Dataplane[table.Service] = (*Backend)(nil)

// After makes a backend that applies with inner and then clears up.
func After(inner dataplane.Dataplane[table.Service], config Config) *Backend {
	return &Backend{Dataplane: inner, applied: config.Applied, follow: follower{config: config, protocols: []table.Protocol{table.UDP}}}
}

// Apply applies with the backend inside. When everything was to be applied, every connection is compared with the table.
func (b *Backend) Apply(ctx context.Context, want table.Table[table.Service], changed table.Keys) error {
	if err := b.Dataplane.Apply(ctx, want, changed); err != nil {
		return err
	}
	if b.applied != nil {
		b.applied(want, changed)
	}
	return b.follow.apply(ctx, want, changed)
}

// Streams removes connections of protocols that have a beginning and an end. They can wait for a moment, and one look at the kernel's
// table for many changes costs less for each. It is not safe for concurrent use.
type Streams struct{ follow follower }

// NewStreams makes one for the rows that a Backend applied.
func NewStreams(config Config) *Streams {
	return &Streams{follower{config: config, protocols: []table.Protocol{table.TCP, table.SCTP}}}
}

// Apply removes the connections to what the changed rows lost, or with changed.All to whatever want does not have.
func (s *Streams) Apply(ctx context.Context, want table.Table[table.Service], changed table.Keys) error {
	return s.follow.apply(ctx, want, changed)
}

// follower compares tables, and has the kernel forget what the next one no longer has.
type follower struct {
	config    Config
	protocols []table.Protocol
	last      table.Table[table.Service]
	synced    bool
	past      map[string]losses // ways that rows no longer have to endpoints that they do; those of before a start are unknown
}

func (f *follower) apply(ctx context.Context, want table.Table[table.Service], changed table.Keys) error {
	all := changed.All || !f.synced
	f.synced = false
	for _, protocol := range f.protocols {
		var err error
		if all {
			err = f.compare(ctx, protocol, want)
		} else {
			err = f.clear(ctx, protocol, want, changed.Names)
		}
		if err != nil {
			return fmt.Errorf("remove %s connections to what is gone: %w", protocol, err)
		}
	}
	f.last, f.synced = want, true
	return nil
}

// clear removes what the changed rows lost, if they lost anything.
func (f *follower) clear(ctx context.Context, protocol table.Protocol, want table.Table[table.Service], names []string) error {
	lost := losses{}
	for _, name := range names {
		old, _ := f.last.Get(name)
		row, _ := want.Get(name)
		if !streams(protocol) {
			lost.datagrams(old, row)
			continue
		}
		f.streams(protocol, name, old, row, lost)
	}
	// A frontend that one service lost may be another's now, and what it lost before that may be back.
	for _, name := range names {
		row, _ := want.Get(name)
		lost.keep(protocol, row)
	}
	if len(lost) == 0 {
		return nil
	}
	return f.delete(ctx, protocol, lost.routes(), lost.needAddresses(), lost.stale)
}

// streams adds to lost what a row lost.
func (f *follower) streams(protocol table.Protocol, name string, old, row table.Service, lost losses) {
	key := protocol.String() + " " + name
	past := f.past[key]
	if past == nil {
		past = losses{}
	}
	lost.streams(protocol, old, row, past)
	if len(past) == 0 {
		delete(f.past, key)
		return
	}
	if f.past == nil {
		f.past = map[string]losses{}
	}
	f.past[key] = past
}

// compare removes what no frontend of the table can have made.
func (f *follower) compare(ctx context.Context, protocol table.Protocol, want table.Table[table.Service]) error {
	k := &known{services: f.config.ServiceCIDRs, frontends: map[netip.AddrPort]endpoints{}, elsewhere: map[netip.Addr]bool{}, streams: streams(protocol)}
	for _, row := range want.All() {
		k.add(protocol, row)
	}
	return f.delete(ctx, protocol, nil, true, k.stale)
}

func (f *follower) delete(ctx context.Context, protocol table.Protocol, routes []conntrack.Entry, needAddresses bool, stale func(conntrack.Entry, map[netip.Addr]bool) bool) error {
	var own map[netip.Addr]bool
	if needAddresses {
		var err error
		if own, err = f.config.Kernel.Addresses(ctx); err != nil {
			return err
		}
	}
	begin, six := time.Now(), 0
	removed, err := f.config.Kernel.Delete(ctx, conntrack.Selection{
		Protocol: uint8(protocol), Translated: streams(protocol), Routes: routes, Stale: func(e conntrack.Entry) bool {
			goes := stale(e, own)
			if goes && e.To.Addr().Is6() {
				six++
			}
			return goes
		},
	})
	if f.config.Observe != nil {
		six = min(six, removed) // some were seen twice, or went by themselves
		f.config.Observe(table.Count{IPv4: removed - six, IPv6: six}, time.Since(begin))
	}
	return err
}
