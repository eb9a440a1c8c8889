// SPDX-License-Identifier: Apache-2.0

// Package connections makes open connections follow the Services. A datagram protocol never notices that its endpoint is
// gone: the kernel keeps sending to where the first datagram went. A client of a stream whose endpoint is gone waits for
// minutes. So after a backend wrote a change, the connections are removed that point to something that is gone, and the
// datagrams of those that went past a frontend that is new.
//
//	Apply ─▶ backend.Apply ─▶ what frontends lost, compared with the table before ─▶ conntrack: UDP
//	                               └─▶ Applied ─▶ Streams: endpoints that no slice lists for a while ─▶ conntrack: TCP, SCTP
//
// Endpoints that still serve while they terminate keep their datagrams; all that slices list in whatever condition keep their
// streams, on which they finish their requests.
package connections

import (
	"context"
	"fmt"
	"iter"
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
	Delete(ctx context.Context, which conntrack.Selection) (int, error)
	Addresses(ctx context.Context) (map[netip.Addr]bool, error)
}

// Config is what a Backend and Streams need.
type Config struct {
	dataplane.Node
	Kernel  Kernel
	Observe func(removed table.Count, took time.Duration) // told after every look at the kernel's table; may be nil
	// Applied is told what the backend wrote, for Streams.Offer: what is gone has to be out of the kernel before its connections
	// are, or their next packets go where the last went. May be nil.
	Applied func(want table.Table[table.Service], changed table.Keys)
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
	if b.config.Applied != nil {
		b.config.Applied(want, changed)
	}
	names := changed.Names
	if all { // rows may have lost something while this failed
		names = keysOf(b.last, want)
	}
	var err error
	if !all || b.last.Len() > 0 { // at first everything would be new, which the comparison sees as well
		err = b.clear(ctx, want, names)
	}
	if err == nil && all {
		err = b.compare(ctx, want)
	}
	if err != nil {
		return fmt.Errorf("remove connections to what is gone: %w", err)
	}
	b.last, b.synced = want, true
	return nil
}

// keysOf returns the keys of rows that differ, or may.
func keysOf(a, b table.Table[table.Service]) []string {
	keys := a.Keys()
	for key := range b.All() {
		if _, both := a.Get(key); !both {
			keys = append(keys, key)
		}
	}
	return keys
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
	return b.delete(ctx, lost.routes(), lost.needAddresses(), lost.stale)
}

// compare removes what no frontend of the table can have made.
func (b *Backend) compare(ctx context.Context, want table.Table[table.Service]) error {
	k := known{services: b.config.ServiceCIDRs, frontends: map[netip.AddrPort]endpoints{}, elsewhere: map[netip.Addr]bool{}}
	for _, row := range want.All() {
		k.add(row)
	}
	return b.delete(ctx, nil, true, k.stale)
}

func (b *Backend) delete(ctx context.Context, routes []conntrack.Entry, needAddresses bool, stale func(conntrack.Entry, map[netip.Addr]bool) bool) error {
	var own map[netip.Addr]bool
	if needAddresses {
		var err error
		if own, err = b.config.own(ctx); err != nil {
			return err
		}
	}
	return b.config.delete(ctx, conntrack.Selection{
		Protocol: uint8(table.UDP), Routes: routes, Stale: func(e conntrack.Entry) bool { return stale(e, own) },
	})
}

// own returns the addresses of this node that serve node ports.
func (c Config) own(ctx context.Context) (map[netip.Addr]bool, error) {
	own, err := c.Kernel.Addresses(ctx)
	if len(c.NodePortAddresses) > 0 {
		maps.DeleteFunc(own, func(addr netip.Addr, _ bool) bool {
			return !slices.ContainsFunc(c.NodePortAddresses, func(p netip.Prefix) bool { return p.Contains(addr) })
		})
	}
	return own, err
}

// delete removes entries and tells how many.
func (c Config) delete(ctx context.Context, which conntrack.Selection) error {
	begin, six, stale := time.Now(), 0, which.Stale
	which.Stale = func(e conntrack.Entry) bool {
		goes := stale(e)
		if goes && e.To.Addr().Is6() {
			six++
		}
		return goes
	}
	removed, err := c.Kernel.Delete(ctx, which)
	if c.Observe != nil {
		six = min(six, removed) // some were seen twice, or went by themselves
		c.Observe(table.Count{IPv4: removed - six, IPv6: six}, time.Since(begin))
	}
	return err
}

// endpointsOf yields the addresses of a row's endpoints, some of them several times.
func endpointsOf(row table.Service) iter.Seq[netip.Addr] {
	return func(yield func(netip.Addr) bool) {
		for list := range listsOf(row) {
			for _, e := range list {
				if !yield(e.Addr()) {
					return
				}
			}
		}
	}
}

// listsOf yields the sorted lists of a row's endpoints.
func listsOf(row table.Service) iter.Seq[[]netip.AddrPort] {
	return func(yield func([]netip.AddrPort) bool) {
		for _, f := range row.Frontends {
			if len(f.Endpoints) > 0 && !yield(f.Endpoints) || len(f.Draining) > 0 && !yield(f.Draining) {
				return
			}
		}
	}
}
