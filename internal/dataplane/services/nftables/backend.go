// SPDX-License-Identifier: Apache-2.0

// Package nftables carries Services by nftables.
//
// The rules are constant. A packet's destination is looked up in one map that says how to draw one of its Service's
// endpoints; the number chooses a constant chain, which draws a random slot; and another map has the endpoint in that slot.
// Services and endpoints are only ever elements of those maps, so a change costs the same with ten services and with ten
// thousand.
//
//	row ─render─▶ elements ─diff─▶ operations ─apply─▶ netlink
//	configuration ─program─▶ text ─▶ nft -f      (at start, and when a Service has twice the endpoints of any before)
package nftables

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"eastwest/internal/dataplane"
	"eastwest/internal/dataplane/nftrules"
	"eastwest/internal/kernel/nft"
	"eastwest/internal/table"
)

// Kernel is what the backend needs of nftables.
type Kernel interface {
	Run(ctx context.Context, script string) error
	List(ctx context.Context, family nft.Family, table string) (string, error)
	Elements(ctx context.Context, family nft.Family, table, set string) ([]nft.Element, error)
	Lookup(ctx context.Context, family nft.Family, table, set string, keys []string) ([]nft.Element, error)
	Change(ctx context.Context, ops []nft.Op) error
}

// Config is what a Backend needs.
type Config struct {
	dataplane.Node
	Kernel Kernel
	Log    *slog.Logger
}

// Backend is the services dataplane on nftables, IPv4 and IPv6. It is not safe for concurrent use.
type Backend struct {
	config   Config
	programs [2]program
	last     table.Table[table.Service] // as it was written: endpoints are in the order of their slots
	synced   bool
	looked   bool          // at what the kernel has, for the first time
	hairpins map[place]int // how many services have an endpoint: by family and element
}

var _ dataplane.Dataplane[table.Service] = (*Backend)(nil)

// New makes a backend; it touches nothing before the first Apply.
func New(config Config) (*Backend, error) {
	if config.Kernel == nil || config.Log == nil {
		return nil, errors.New("make the nftables backend: Kernel and Log are required")
	}
	b := &Backend{config: config}
	for i, family := range families {
		b.programs[i] = program{NodeView: config.View(family == nft.IPv6), family: family}
	}
	return b, nil
}

var families = [2]nft.Family{nft.IPv4, nft.IPv6}

// Apply makes the kernel match want. Only changed rows are looked at, unless changed.All says to compare everything.
func (b *Backend) Apply(ctx context.Context, want table.Table[table.Service], changed table.Keys) error {
	apply := func() (table.Table[table.Service], error) { return b.change(ctx, want, changed.Names) }
	if changed.All || !b.synced {
		apply = func() (table.Table[table.Service], error) { return b.sync(ctx, want) }
	}
	b.synced = false
	written, err := apply()
	if err != nil {
		return err
	}
	b.last, b.synced = written, true
	return nil
}

// change applies some rows: what the last table holds of them is what the kernel has.
func (b *Backend) change(ctx context.Context, want table.Table[table.Service], names []string) (written table.Table[table.Service], err error) {
	names = slices.Compact(slices.Sorted(slices.Values(names))) // named twice, a row would be counted twice
	now, gone := map[string]table.Service{}, []string(nil)
	for _, name := range names {
		row, ok := want.Get(name)
		if !ok {
			gone = append(gone, name)
			continue
		}
		old, _ := b.last.Get(name)
		now[name] = seated(row, inRow(old))
	}
	written = b.last.With(now, gone...)
	var ops []nft.Op
	for i, family := range families {
		have, wanted := map[place]value{}, map[place]value{}
		var need shape
		for _, old := range b.rows(b.last, names) {
			render(old, now[old.Key()], family, have)
		}
		for name, row := range now {
			old, _ := b.last.Get(name)
			render(row, old, family, wanted)
			need.include(row, family)
		}
		if err := b.grow(ctx, i, need); err != nil {
			return written, err
		}
		clients, err := b.remember(ctx, family, have, wanted)
		if err != nil {
			return written, err
		}
		b.share(family, b.rows(b.last, names), b.rows(written, names), have, wanted)
		ops = append(ops, diff(family, have, wanted)...)
		ops = append(ops, clients...)
	}
	return written, b.write(ctx, ops)
}

func (b *Backend) rows(from table.Table[table.Service], names []string) []table.Service {
	var rows []table.Service
	for _, name := range names {
		if row, ok := from.Get(name); ok {
			rows = append(rows, row)
		}
	}
	return rows
}

// share counts the services that have a hairpin element, and leaves in have and want only those that appear or vanish.
func (b *Backend) share(family nft.Family, old, now []table.Service, have, want map[place]value) {
	touched := map[place]int{} // count before
	adjust := func(rows []table.Service, by int) {
		for _, row := range rows {
			for at := range hairpins(row, family) {
				if _, ok := touched[at]; !ok {
					touched[at] = b.hairpins[at]
				}
				b.hairpins[at] += by
			}
		}
	}
	adjust(old, -1)
	adjust(now, +1)
	for at, before := range touched {
		delete(have, at)
		delete(want, at)
		if before > 0 {
			have[at] = value{}
		}
		if b.hairpins[at] > 0 {
			want[at] = value{}
			continue
		}
		delete(b.hairpins, at)
	}
}

// sync compares everything with the kernel.
func (b *Backend) sync(ctx context.Context, want table.Table[table.Service]) (written table.Table[table.Service], err error) {
	var have [2]map[place]value
	read := b.read
	if !b.looked {
		read, b.looked = b.glance, true
	}
	for i, family := range families {
		var need shape
		for _, row := range want.All() {
			need.include(row, family)
		}
		if err := b.establish(ctx, i, need); err != nil {
			return written, err
		}
		if have[i], err = read(ctx, i); err != nil {
			return written, err
		}
	}
	written = want.With(keepSeats(want, &have))
	b.hairpins = map[place]int{}
	var ops []nft.Op
	for i, family := range families {
		wanted, elements := make(map[place]value, max(0, 4*want.Len()-len(have[i]))), map[place]value{}
		for _, row := range written.All() {
			clear(elements)
			render(row, table.Service{}, family, elements)
			settle(elements, have[i], wanted)
			b.countHairpins(row, family)
		}
		clients, err := b.remember(ctx, family, have[i], wanted)
		if err != nil {
			return written, err
		}
		ops = append(ops, diff(family, have[i], wanted)...)
		ops = append(ops, clients...)
	}
	return written, b.write(ctx, ops)
}

func (b *Backend) write(ctx context.Context, ops []nft.Op) error {
	if len(ops) == 0 {
		return nil
	}
	if err := b.config.Kernel.Change(ctx, ops); err != nil {
		return fmt.Errorf("apply services: %w", err)
	}
	return nil
}

// establish makes the constant part of the table right; a table that is right is left alone.
func (b *Backend) establish(ctx context.Context, i int, need shape) error {
	p := &b.programs[i]
	if view := b.config.View(p.family == nft.IPv6); !slices.Equal(view.Services, p.Services) {
		p.NodeView, p.written = view, "" // what was written is of other ranges
	}
	listing, err := b.config.Kernel.List(ctx, p.family, TableName)
	if err != nil && !errors.Is(err, nft.ErrNotExist) {
		return fmt.Errorf("read services: %w", err)
	}
	found := shapeOf(listing)
	p.shape = found.union(need)
	asWritten := listing != "" && listing == p.written && p.shape.equal(found)
	if asWritten || nftrules.Canonical(listing) == nftrules.Canonical(p.text()) {
		if whole, err := b.whole(ctx, p); whole || err != nil {
			return err
		}
	}
	b.config.Log.Info("write rules", "family", p.family, "new", listing == "")
	return b.rewrite(ctx, p, listing)
}

// whole reports whether the constant maps have their elements, which a listing is silent of: somebody may have flushed them.
func (b *Backend) whole(ctx context.Context, p *program) (bool, error) {
	for g := range groups {
		elements, err := b.config.Kernel.Elements(ctx, p.family, TableName, drawMap(g))
		if err != nil {
			return false, fmt.Errorf("read services: %w", err)
		}
		if len(elements) != len(p.draws(g)) {
			return false, nil
		}
	}
	return true, nil
}

// rewrite makes the kernel's table, as listed, equal to the program and keeps its elements. Only a table of another version,
// whose maps have other types, is replaced as a whole.
func (b *Backend) rewrite(ctx context.Context, p *program, listing string) error {
	err := b.config.Kernel.Run(ctx, p.script(listing))
	if errors.Is(err, nft.ErrExist) {
		b.config.Log.Warn("replace the table of another version", "family", p.family, "err", err)
		err = b.config.Kernel.Run(ctx, p.replacement())
	}
	if err != nil {
		return fmt.Errorf("write rules of services: %w", err)
	}
	p.written, err = b.config.Kernel.List(ctx, p.family, TableName)
	return err
}

// grow adds slots when a service needs more than there are.
func (b *Backend) grow(ctx context.Context, i int, need shape) error {
	p := b.programs[i]
	p.shape = p.shape.union(need)
	if p.shape.equal(b.programs[i].shape) {
		return nil
	}
	if err := b.rewrite(ctx, &p, ""); err != nil {
		return err
	}
	b.programs[i] = p
	return nil
}

// Remove deletes the tables.
func (b *Backend) Remove(ctx context.Context) error {
	b.synced = false
	for _, family := range families {
		script := fmt.Sprintf("add table %[1]s %[2]s\ndelete table %[1]s %[2]s\n", family, TableName)
		if err := b.config.Kernel.Run(ctx, script); err != nil {
			return fmt.Errorf("remove services: %w", err)
		}
	}
	return nil
}
