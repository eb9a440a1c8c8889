// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"eastwest/internal/kernel/ipvs"
	"eastwest/internal/kernel/nft"
	"eastwest/internal/table"
)

// leaver is what stays of a virtual server until connections end.
type leaver struct {
	destinations map[netip.AddrPort]bool
	wanted       bool // the virtual server has other destinations
}

// leave removes the destinations without connections; the others get no new ones.
func (b *Backend) leave(ctx context.Context, key ipvs.Key, l leaver) error {
	list, err := b.config.Servers.Destinations(ctx, key)
	if err != nil {
		return err
	}
	stay := map[netip.AddrPort]bool{}
	for _, d := range list {
		if !l.destinations[d.Addr] {
			continue
		}
		if d.Connections == 0 {
			err = b.config.Servers.DeleteDestination(ctx, key, d.Addr)
		} else if stay[d.Addr] = true; d.Weight > 0 {
			err = b.config.Servers.AddDestination(ctx, key, ipvs.Destination{Addr: d.Addr})
		}
		if err != nil {
			return err
		}
	}
	l.destinations = stay
	if old, ok := b.leaving[key]; ok {
		maps.Copy(l.destinations, old.destinations)
	}
	if len(l.destinations) > 0 {
		b.leaving[key] = l
		return nil
	}
	delete(b.leaving, key)
	if !l.wanted {
		return b.remove(ctx, key)
	}
	return nil
}

func (b *Backend) remove(ctx context.Context, key ipvs.Key) error {
	if err := b.config.Servers.Delete(ctx, key); err != nil {
		return err
	}
	delete(b.made, key)
	return nil
}

// drain removes what has left meanwhile.
func (b *Backend) drain(ctx context.Context) error {
	for _, key := range slices.SortedFunc(maps.Keys(b.leaving), compareKeys) {
		l := b.leaving[key]
		delete(b.leaving, key)
		if err := b.leave(ctx, key, l); err != nil {
			return fmt.Errorf("remove destinations whose connections have ended: %w", err)
		}
		if _, still := b.leaving[key]; still || l.wanted {
			continue
		}
		if err := b.forget(ctx, key); err != nil {
			return err
		}
	}
	return nil
}

// forget takes away the rest of a virtual server that has left, and its address when nothing else is there.
func (b *Backend) forget(ctx context.Context, key ipvs.Key) error {
	family := indexOf(key.Addr)
	op := func(family int, set, element string) nft.Op {
		return nft.Op{Family: families[family], Table: TableName, Set: set, Delete: []nft.Element{{Key: element}}}
	}
	ops := []nft.Op{op(family, setVirtual, frontendKey(key))}
	at := place{setAddress, string(key.Addr.AsSlice())}
	others := func(other ipvs.Key) bool { return other.Addr == key.Addr && !b.leaving[other].wanted }
	if b.shared[family][at] == 0 && !b.render.node[key.Addr] && !slices.ContainsFunc(slices.Collect(maps.Keys(b.leaving)), others) {
		if err := b.config.Device.Delete(ctx, key.Addr); err != nil {
			return err
		}
		ops = append(ops, op(family, setAddress, at.key))
		if key.Addr.Is4() {
			ops = append(ops, op(arp, setAddress, at.key))
		}
	}
	return b.rules(ctx, ops)
}

// Forget ends the connections from a frontend to an endpoint that is gone, with their next packet. It is safe for concurrent use.
func (b *Backend) Forget(ctx context.Context, protocol table.Protocol, to, endpoint netip.AddrPort) error {
	key := ipvs.Key{Addr: to.Addr(), Port: to.Port(), Protocol: uint8(protocol)}
	list, err := b.config.Servers.Destinations(ctx, key)
	if err != nil {
		return err
	}
	for _, d := range list {
		if d.Addr == endpoint && d.Weight == 0 {
			return b.config.Servers.DeleteDestination(ctx, key, endpoint)
		}
	}
	return nil
}
