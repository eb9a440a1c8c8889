// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"eastwest/internal/dataplane"
	"eastwest/internal/kernel/nft"
	"eastwest/internal/table"
)

// shapeLeft is a shape as another process reads it.
type shapeLeft struct {
	Slots    [groups]int
	Timeouts [groups][]uint32
	Sockets  []netip.Addr
	Ranged   bool
	Services []netip.Prefix // virtual addresses that are refused
}

// Written returns the rows that the kernel has, with endpoints in the order of their slots, and what shows in the constant parts.
func (b *Backend) Written() (table.Table[table.Service], []byte) {
	var left [len(families)]shapeLeft
	for i := range b.programs {
		s := b.programs[i].shape
		left[i] = shapeLeft{s.slots, s.timeouts, s.sockets, s.ranged, b.programs[i].Services}
	}
	rest, err := json.Marshal(left)
	if err != nil {
		panic(fmt.Sprintf("numbers and addresses have no JSON: %v", err))
	}
	return b.last, rest
}

// TakeOver takes what Written returned in another process for what the kernel has.
func (b *Backend) TakeOver(rows table.Table[table.Service], rest []byte) error {
	var left [len(families)]shapeLeft
	if err := json.Unmarshal(rest, &left); err != nil {
		return fmt.Errorf("read shapes: %w", err)
	}
	var views [len(families)]dataplane.NodeView
	for i, family := range families {
		if views[i] = b.config.View(family == nft.IPv6); !slices.Equal(left[i].Services, views[i].Services) {
			return errors.New("the ranges of services changed")
		}
	}
	b.last, b.hairpins = rows, map[place]int{}
	for i, s := range left {
		b.programs[i].NodeView = views[i]
		b.programs[i].shape = shape{slots: s.Slots, timeouts: s.Timeouts, sockets: s.Sockets, ranged: s.Ranged}
	}
	for _, row := range rows.All() {
		for _, family := range families {
			b.countHairpins(row, family)
		}
	}
	// What an interrupted change of earlier processes may have left is found when all is compared for the first time.
	b.synced, b.looked = true, true
	return nil
}

func (b *Backend) countHairpins(row table.Service, family nft.Family) {
	for at := range hairpins(row, family) {
		b.hairpins[at]++
	}
}

// Same reports whether a row as it was written is what a row asks for: endpoints keep their slots.
func (b *Backend) Same(written, row table.Service) bool { return written.Alike(row) }
