// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"iter"
	"net/netip"
	"slices"

	"eastwest/internal/table"
)

// An endpoint keeps its slot while it can, so that a change costs as much as what changed: the first of ten thousand that goes
// is two elements and not ten thousand. docs/decisions/0010-slots.md says why.

// seat puts endpoints in the order of their slots. Those that had a slot before keep it; those whose slot is beyond the last
// one, and then those that are new, fill the free ones from the first. Slots are never empty in between.
func seat(before, endpoints []netip.AddrPort) []netip.AddrPort {
	if len(before) == 0 || slices.Equal(before, endpoints) {
		return endpoints
	}
	waiting := make(map[netip.AddrPort]bool, len(endpoints))
	for _, e := range endpoints {
		waiting[e] = true
	}
	slots := make([]netip.AddrPort, len(endpoints))
	for slot, e := range before[:min(len(before), len(slots))] {
		if waiting[e] {
			slots[slot] = e
			delete(waiting, e)
		}
	}
	free := 0
	for _, list := range [...][]netip.AddrPort{before, endpoints} {
		for _, e := range list {
			if !waiting[e] {
				continue
			}
			for slots[free].IsValid() {
				free++
			}
			slots[free] = e
			delete(waiting, e)
		}
	}
	return slots
}

// seated returns the row with the endpoints of every frontend in the order of their slots, given which had them before.
func seated(row table.Service, before func(table.Frontend) []netip.AddrPort) table.Service {
	shared := true
	for i, f := range row.Frontends {
		slots := seat(before(f), f.Endpoints)
		if slices.Equal(slots, f.Endpoints) {
			continue
		}
		if shared { // rows of a table are never modified
			row.Frontends, shared = slices.Clone(row.Frontends), false
		}
		row.Frontends[i].Endpoints = slots
	}
	return row
}

// inRow finds who had the slots in a row that is seated.
func inRow(row table.Service) func(table.Frontend) []netip.AddrPort {
	return func(f table.Frontend) []netip.AddrPort { return like(row, f).Endpoints }
}

// like returns the frontend of a row that has the same slots as another one; an empty one where there is none.
func like(row table.Service, f table.Frontend) table.Frontend {
	if len(row.Frontends) == 0 {
		return table.Frontend{}
	}
	group, key := mapOf(f).group, frontendKey(f)
	for _, other := range row.Frontends {
		if other.Addr.Is4() == f.Addr.Is4() && mapOf(other).group == group && frontendKey(other) == key {
			return other
		}
	}
	return table.Frontend{}
}

// slotsIn returns the slots that a row has of a frontend of the same service, if elements in them are the same when endpoints
// are. Clients that are remembered follow their endpoints, which takes all slots.
func slotsIn(row table.Service, f table.Frontend) []netip.AddrPort {
	other := like(row, f)
	if other.PortName != f.PortName || other.AffinitySeconds+f.AffinitySeconds > 0 {
		return nil
	}
	return other.Endpoints
}

// inKernel finds who has the slots among the elements of both families.
func inKernel(have *[2]map[place]value) func(table.Frontend) []netip.AddrPort {
	return func(f table.Frontend) (slots []netip.AddrPort) {
		group, key := mapOf(f).group, frontendKey(f)
		for i, family := range families {
			if !of(family, f.Addr) {
				continue
			}
			for e := range slotsOf(have[i], group, key) {
				slots = append(slots, addrPort(family, e))
			}
		}
		return slots
	}
}

// slotsOf yields the data of a frontend's slots, from the first to the one before the first empty one.
func slotsOf(elements map[place]value, g group, key string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for slot := uint32(0); ; slot++ {
			e, ok := elements[slotPlace(g, key, slot)]
			if !ok || !yield(e.data) {
				return
			}
		}
	}
}

// keepSeats returns the rows whose endpoints have other slots in the kernel than the order of the table.
func keepSeats(want table.Table[table.Service], have *[2]map[place]value) map[string]table.Service {
	moved := map[string]table.Service{}
	before := inKernel(have)
	for name, row := range want.All() {
		now := seated(row, before)
		for i, f := range now.Frontends {
			if !slices.Equal(f.Endpoints, row.Frontends[i].Endpoints) {
				moved[name] = now
				break
			}
		}
	}
	return moved
}
