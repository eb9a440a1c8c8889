// SPDX-License-Identifier: Apache-2.0

// Package connections makes open connections follow the Services. A datagram protocol never notices that its endpoint is
// gone: the kernel keeps sending to where the first datagram went. So after a backend wrote a change, the connections
// are removed that point to something that is gone, and those that went past a frontend that is new.
//
//	Apply ─▶ backend.Apply ─▶ what a frontend lost, compared with the table before ─▶ conntrack
//
// Endpoints that still serve while they terminate keep their connections. Only UDP is looked at: TCP and SCTP end their
// connections themselves, and a terminating endpoint finishes its requests on them.
package connections

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"eastwest/internal/dataplane"
	"eastwest/internal/kernel/conntrack"
	"eastwest/internal/table"
)

// Kernel is what is needed of connection tracking.
type Kernel interface {
	Delete(ctx context.Context, protocol uint8, to []netip.AddrPort, stale func(conntrack.Entry) bool) (int, error)
	Addresses(ctx context.Context) (map[netip.Addr]bool, error)
}

// Config is what a Backend needs.
type Config struct {
	Kernel       Kernel
	ServiceCIDRs []netip.Prefix                                // connections to addresses in them that nobody has are removed at start
	Observe      func(removed table.Count, took time.Duration) // told after every look at the kernel's table; may be nil
}

// Backend is a services dataplane with another one inside. It is not safe for concurrent use.
type Backend struct {
	dataplane.Dataplane[table.Service]
	config Config
	last   table.Table[table.Service]
	synced bool
}

var _ dataplane.Dataplane[table.Service] = (*Backend)(nil)

// After makes a backend that applies with inner and then clears up.
func After(inner dataplane.Dataplane[table.Service], config Config) *Backend {
	return &Backend{Dataplane: inner, config: config}
}

// Apply applies with the backend inside. When everything was to be applied, every connection is compared with the table.
func (b *Backend) Apply(ctx context.Context, want table.Table[table.Service], changed table.Keys) error {
	all := changed.All || !b.synced
	b.synced = false
	if err := b.Dataplane.Apply(ctx, want, changed); err != nil {
		return err
	}
	var err error
	if all {
		err = b.compare(ctx, want)
	} else {
		err = b.clear(ctx, want, changed.Names)
	}
	if err != nil {
		return fmt.Errorf("remove connections to what is gone: %w", err)
	}
	b.last, b.synced = want, true
	return nil
}

// clear removes what the changed rows lost, if they lost anything.
func (b *Backend) clear(ctx context.Context, want table.Table[table.Service], names []string) error {
	lost := losses{}
	for _, name := range names {
		old, _ := b.last.Get(name)
		row, _ := want.Get(name)
		lost.add(old, row)
	}
	// A frontend that one service lost may be another's now, and what it lost before that may be back.
	for _, name := range names {
		row, _ := want.Get(name)
		lost.keep(row)
	}
	if len(lost) == 0 {
		return nil
	}
	return b.delete(ctx, slices.Collect(maps.Keys(lost)), lost.needAddresses(), lost.stale)
}

// compare removes what no frontend of the table can have made.
func (b *Backend) compare(ctx context.Context, want table.Table[table.Service]) error {
	k := known{services: b.config.ServiceCIDRs, frontends: map[netip.AddrPort]endpoints{}, elsewhere: map[netip.Addr]bool{}}
	for _, row := range want.All() {
		k.add(row)
	}
	return b.delete(ctx, nil, true, k.stale)
}

func (b *Backend) delete(ctx context.Context, to []netip.AddrPort, needAddresses bool, stale func(conntrack.Entry, map[netip.Addr]bool) bool) error {
	var own map[netip.Addr]bool
	if needAddresses {
		var err error
		if own, err = b.config.Kernel.Addresses(ctx); err != nil {
			return err
		}
	}
	begin, six := time.Now(), 0
	removed, err := b.config.Kernel.Delete(ctx, uint8(table.UDP), to, func(e conntrack.Entry) bool {
		goes := stale(e, own)
		if goes && e.To.Addr().Is6() {
			six++
		}
		return goes
	})
	if b.config.Observe != nil {
		six = min(six, removed) // some were seen twice, or went by themselves
		b.config.Observe(table.Count{IPv4: removed - six, IPv6: six}, time.Since(begin))
	}
	return err
}
