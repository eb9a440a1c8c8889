// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"cmp"
	"context"
	"maps"
	"net/netip"
	"slices"

	"eastwest/internal/kernel/ipvs"
	"eastwest/internal/kernel/nft"
	"eastwest/internal/table"
)

// write turns have into want in an order in which packets find a whole service after every step: virtual servers before the
// rules that let packets to them, these before addresses, and back.
func (b *Backend) write(ctx context.Context, have, want image) error {
	b.stay(have, want)
	first, then, _ := split(have, want)
	if err := b.rules(ctx, first); err != nil {
		return err
	}
	for _, key := range sortedKeys(want.servers) {
		if err := b.serve(ctx, key, have.servers[key], want.servers[key]); err != nil {
			return err
		}
	}
	if err := b.rules(ctx, then); err != nil {
		return err
	}
	if err := b.addresses(ctx, have, want, b.config.Device.Add); err != nil {
		return err
	}
	for _, key := range sortedKeys(have.servers) {
		if err := b.withdraw(ctx, key, have.servers[key], want.servers[key]); err != nil {
			return err
		}
	}
	for key := range b.leaving { // found to have connections only now
		b.keep(key, have, want)
	}
	_, _, last := split(have, want)
	if err := b.addresses(ctx, want, have, b.config.Device.Delete); err != nil {
		return err
	}
	return b.rules(ctx, last)
}

// stay has virtual servers that are wanted again no longer leave, and keeps what those need that still do.
func (b *Backend) stay(have, want image) {
	for key, l := range b.leaving {
		s, wanted := want.servers[key]
		if _, had := have.servers[key]; had || wanted {
			l.wanted = wanted
		}
		maps.DeleteFunc(l.destinations, func(addr netip.AddrPort, _ bool) bool {
			_, again := s.weights[addr]
			return again
		})
		b.leaving[key] = l
		if len(l.destinations) == 0 {
			delete(b.leaving, key)
		}
		b.keep(key, have, want)
	}
}

// keep has the rules and the device go on knowing a virtual server that is leaving.
func (b *Backend) keep(key ipvs.Key, have, want image) {
	if l := b.leaving[key]; l.wanted || len(l.destinations) == 0 {
		return
	}
	address := string(key.Addr.AsSlice())
	for family, at := range map[int]place{indexOf(key.Addr): {setVirtual, frontendKey(key)}, arp: {setAddress, address}} {
		if v, ok := have.elements[family][at]; ok {
			want.elements[family][at] = v
		}
	}
	at := place{setAddress, address}
	if v, ok := have.elements[indexOf(key.Addr)][at]; ok {
		want.elements[indexOf(key.Addr)][at] = v
	}
}

// serve makes a virtual server.
func (b *Backend) serve(ctx context.Context, key ipvs.Key, old, s server) error {
	b.made[key] = true
	if old.weights == nil || old.persistence != s.persistence || old.scheduler != s.scheduler {
		if err := b.config.Servers.Add(ctx, ipvs.Server{Key: key, Scheduler: s.scheduler, Persistence: s.persistence}); err != nil {
			return err
		}
	}
	for _, addr := range slices.SortedFunc(maps.Keys(s.weights), netip.AddrPort.Compare) {
		if weight, had := old.weights[addr]; had && weight == s.weights[addr] {
			continue
		}
		if err := b.config.Servers.AddDestination(ctx, key, ipvs.Destination{Addr: addr, Weight: s.weights[addr]}); err != nil {
			return err
		}
	}
	return nil
}

// withdraw takes destinations away, or has them leave.
func (b *Backend) withdraw(ctx context.Context, key ipvs.Key, old, s server) error {
	gone := map[netip.AddrPort]bool{}
	for addr := range old.weights {
		if _, stays := s.weights[addr]; !stays {
			gone[addr] = true
		}
	}
	wanted := s.weights != nil
	if len(gone) == 0 && wanted {
		return nil
	}
	// Connections through an alias are translated by rules after their first packet, and datagrams do not end: what
	// becomes of those is decided elsewhere.
	if !old.alias && key.Protocol != uint8(table.UDP) && len(gone) > 0 {
		return b.leave(ctx, key, leaver{destinations: gone, wanted: wanted})
	}
	if !wanted {
		return b.remove(ctx, key)
	}
	for addr := range gone {
		if err := b.config.Servers.DeleteDestination(ctx, key, addr); err != nil {
			return err
		}
	}
	return nil
}

// addresses does something with the addresses that only b has.
func (b *Backend) addresses(ctx context.Context, has, wants image, do func(context.Context, netip.Addr) error) error {
	for family := range aliases {
		for at := range wants.elements[family] {
			if _, had := has.elements[family][at]; had || at.set != setAddress {
				continue
			}
			if addr, ok := netip.AddrFromSlice([]byte(at.key)); ok {
				if err := do(ctx, addr); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (b *Backend) rules(ctx context.Context, ops []nft.Op) error {
	if len(ops) == 0 {
		return nil
	}
	return b.config.Rules.Change(ctx, ops)
}

// split returns the operations before virtual servers are made, after that, and after they and their addresses are gone. The
// first and the last are of what says that something is ours.
func split(have, want image) (first, then, last []nft.Op) {
	for family := range families {
		add, remove := map[string]*nft.Op{}, map[string]*nft.Op{}
		at := func(ops map[string]*nft.Op, set string) *nft.Op {
			if ops[set] == nil {
				ops[set] = &nft.Op{Family: families[family], Table: TableName, Set: set}
			}
			return ops[set]
		}
		for p, v := range want.elements[family] {
			old, had := have.elements[family][p]
			if had && old == v {
				continue
			}
			op := at(add, p.set)
			e := nft.Element{Key: p.key, Data: v.data, Comment: v.comment, KeyEnd: v.end}
			if had && old.end != onlyOnDevice {
				// Replacements go to the front of both lists, so that their indexes agree.
				n := len(op.Delete)
				op.Delete = append(op.Delete, nft.Element{Key: p.key, KeyEnd: old.end})
				op.Add = append(op.Add, e)
				op.Add[n], op.Add[len(op.Add)-1] = op.Add[len(op.Add)-1], op.Add[n]
				continue
			}
			op.Add = append(op.Add, e)
		}
		for p, v := range have.elements[family] {
			if _, stays := want.elements[family][p]; !stays && v.end != onlyOnDevice {
				op := at(remove, p.set)
				op.Delete = append(op.Delete, nft.Element{Key: p.key, KeyEnd: v.end})
			}
		}
		for _, op := range ordered(add) {
			if op.Set == setVirtual {
				first = append(first, op)
			} else if op.Set != setAllowed {
				then = append(then, op)
			}
		}
		then = append(then, allowed(add[setAllowed], remove[setAllowed])...)
		for _, op := range ordered(remove) {
			switch op.Set {
			case setVirtual, setAddress:
				last = append(last, op)
			case setAllowed:
			default:
				then = append(then, op)
			}
		}
	}
	return first, then, last
}

// allowed has all ranges that go before any that comes: the kernel takes none that overlaps another.
func allowed(add, remove *nft.Op) []nft.Op {
	var out []nft.Op
	for _, op := range []*nft.Op{remove, add} {
		if op != nil && len(op.Delete) > 0 {
			gone := *op
			gone.Add = nil
			out = append(out, gone)
		}
	}
	if add != nil && len(add.Add) > 0 {
		come := *add
		come.Delete = nil
		out = append(out, come)
	}
	return out
}

func ordered(ops map[string]*nft.Op) []nft.Op {
	var out []nft.Op
	for _, set := range slices.Sorted(maps.Keys(ops)) {
		out = append(out, *ops[set])
	}
	return out
}

func sortedKeys(servers map[ipvs.Key]server) []ipvs.Key {
	return slices.SortedFunc(maps.Keys(servers), compareKeys)
}

func compareKeys(a, b ipvs.Key) int {
	return cmp.Or(a.Addr.Compare(b.Addr), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Port, b.Port))
}
