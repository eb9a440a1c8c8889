// SPDX-License-Identifier: Apache-2.0

// Package iptables carries Services by iptables, in the chains that kube-proxy made known: KUBE-SERVICES leads a virtual
// address to its KUBE-SVC chain, this by chance to one of its KUBE-SEP chains, and that to the endpoint.
//
//	row ─render─▶ chains ─diff─▶ input of iptables-restore --noflush ─apply─▶ the chains that changed
//
// A change of endpoints writes the chains of that service alone; the chains that all services share are written when a
// service comes, goes or changes its addresses, or gets its first or loses its last endpoint.
package iptables

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"eastwest/internal/dataplane"
	"eastwest/internal/kernel/iptables"
	"eastwest/internal/table"
)

// Kernel is what the backend needs of iptables.
type Kernel interface {
	Chains(ctx context.Context, family iptables.Family, tables []string, wanted func(chain string) bool) (map[iptables.Chain][]string, error)
	Restore(ctx context.Context, family iptables.Family, input string) error
}

// Config is what a Backend needs.
type Config struct {
	dataplane.Node
	Kernel Kernel
	Log    *slog.Logger
	Batch  int // how many chains are written in one transaction, at most; 0 is 1,000
	// Rules is told, after each write, how many rules a table has and how many of them were written. May be nil.
	Rules func(family iptables.Family, table string, total, written int)
}

// Backend is the services dataplane on iptables, IPv4 and IPv6. It is not safe for concurrent use.
type Backend struct {
	config   Config
	programs [2]program
	last     table.Table[table.Service]
	synced   bool
	counts   map[counted]int // of rules in the kernel
}

var _ dataplane.Dataplane[table.Service] = (*Backend)(nil)

// New makes a backend; it touches nothing before the first Apply.
func New(config Config) (*Backend, error) {
	if config.Kernel == nil || config.Log == nil {
		return nil, errors.New("make the iptables backend: Kernel and Log are required")
	}
	if config.Batch == 0 {
		config.Batch = 1000
	}
	b := &Backend{config: config, counts: map[counted]int{}}
	for i, family := range families {
		b.programs[i] = programOf(config.Node, family)
	}
	return b, nil
}

var families = [2]iptables.Family{iptables.IPv4, iptables.IPv6}

func (p program) renderer() renderer {
	return renderer{family: p.family, pods: p.pods, services: p.Services}
}

// Apply makes the kernel match want. Only changed rows are looked at, unless changed.All says to compare everything.
func (b *Backend) Apply(ctx context.Context, want table.Table[table.Service], changed table.Keys) error {
	all := changed.All || !b.synced || b.sockets(want, changed.Names)
	b.synced = false
	for i, family := range families {
		var err error
		if all {
			b.programs[i] = programOf(b.config.Node, family)
			err = b.sync(ctx, b.programs[i], want)
		} else {
			err = b.change(ctx, b.programs[i], want, changed.Names)
		}
		if err != nil {
			return fmt.Errorf("apply %s: %w", b.programs[i], err)
		}
	}
	b.last, b.synced = want, true
	return nil
}

// sockets reports whether a changed row has or had a local socket, for which the kernel's own chains may change.
func (b *Backend) sockets(want table.Table[table.Service], names []string) bool {
	return slices.ContainsFunc(names, func(name string) bool {
		old, _ := b.last.Get(name)
		row, _ := want.Get(name)
		socket := func(f table.Frontend) bool { return f.LocalSocket }
		return slices.ContainsFunc(old.Frontends, socket) || slices.ContainsFunc(row.Frontends, socket)
	})
}

// change writes what some rows changed: what the last table holds of them is what the kernel has.
func (b *Backend) change(ctx context.Context, p program, want table.Table[table.Service], names []string) error {
	have, wanted := chains{}, chains{}
	haveShared, wantShared := chains{}, chains{}
	r := p.renderer()
	for _, name := range slices.Compact(slices.Sorted(slices.Values(names))) {
		if old, ok := b.last.Get(name); ok {
			r.render(old, have, haveShared)
		}
		if row, ok := want.Get(name); ok {
			r.render(row, wanted, wantShared)
		}
	}
	grown := difference(difference(map[string]int{}, wanted, have), wantShared, haveShared)
	if touched := differing(haveShared, wantShared); len(touched) > 0 {
		whole := p.shared(want)
		for _, at := range touched {
			have[at], wanted[at] = []string{"differs"}, whole[at]
		}
	}
	inputs := writes(have, wanted, nil, nil, b.config.Batch)
	if err := b.restore(ctx, p, inputs); err != nil {
		return err
	}
	b.count(p.family, inputs, func(table string) int { return b.counts[counted{p.family, table}] + grown[table] })
	return nil
}

// sync compares everything with the kernel.
func (b *Backend) sync(ctx context.Context, p program, want table.Table[table.Service]) error {
	rendered := make(chan chains, 1)
	go func() { rendered <- p.whole(want) }() // half of the reading is the kernel's
	have, found, err := b.read(ctx, p.family)
	wanted := <-rendered
	if err != nil {
		return err
	}
	var add, remove []jump
	jumps := p.jumps(wanted[place{raw, chainSockets}] != nil)
	for _, j := range jumps {
		if !slices.Contains(found, j) {
			add = append(add, j)
		}
	}
	for _, j := range found {
		if !slices.Contains(jumps, j) {
			remove = append(remove, j)
		}
	}
	inputs := writes(have, wanted, add, remove, b.config.Batch)
	if err := b.restore(ctx, p, inputs); err != nil {
		return err
	}
	all := difference(map[string]int{}, wanted, nil)
	b.count(p.family, inputs, func(table string) int { return all[table] })
	return nil
}

// whole renders all chains.
func (p program) whole(want table.Table[table.Service]) chains {
	out, r := p.head(), p.renderer()
	for _, name := range want.Keys() {
		row, _ := want.Get(name)
		r.render(row, out, out)
	}
	p.end(out)
	return out
}

// shared renders the chains that all services share, constant rules included.
func (p program) shared(want table.Table[table.Service]) chains {
	out, unused, r := p.head(), chains{}, p.renderer()
	for _, name := range want.Keys() {
		row, _ := want.Get(name)
		r.render(row, unused, out)
		clear(unused)
	}
	p.end(out)
	return out
}

// end adds the rules that come last.
func (p program) end(out chains) {
	for at, rules := range p.tail() {
		out[at] = append(out[at], rules...)
	}
}

func (b *Backend) restore(ctx context.Context, p program, inputs []string) error {
	for _, input := range inputs {
		if err := b.config.Kernel.Restore(ctx, p.family, input); err != nil {
			return err
		}
	}
	return nil
}

// read returns our chains and the rules of the kernel's own chains that lead to them.
func (b *Backend) read(ctx context.Context, family iptables.Family) (chains, []jump, error) {
	found, err := b.config.Kernel.Chains(ctx, family, []string{raw, nat, filter}, ours)
	if err != nil {
		return nil, nil, fmt.Errorf("read %s chains: %w", family, err)
	}
	have := make(chains, len(found))
	var jumps []jump
	for chain, rules := range found {
		at := place{chain.Table, chain.Name}
		if ours(chain.Name) {
			have[at] = rules
			continue
		}
		for _, rule := range rules {
			jumps = append(jumps, jump{at, rule})
		}
	}
	return have, jumps, nil
}

// Remove deletes our chains, and those that kube-proxy left, which have the same names.
func (b *Backend) Remove(ctx context.Context) error {
	b.synced = false
	for _, p := range b.programs {
		have, jumps, err := b.read(ctx, p.family)
		if errors.Is(err, iptables.ErrMissing) {
			return nil // without the programs nothing was written
		}
		if err == nil {
			err = b.restore(ctx, p, writes(have, nil, nil, jumps, b.config.Batch))
		}
		if err != nil {
			return fmt.Errorf("remove %s: %w", p, err)
		}
	}
	return nil
}

// Dump returns the rules that services have in the kernel, one a line, without those that are constant.
func (b *Backend) Dump(ctx context.Context) (string, error) {
	var out strings.Builder
	for _, p := range b.programs {
		have, _, err := b.read(ctx, p.family)
		if errors.Is(err, iptables.ErrMissing) {
			return "", nil
		}
		if err != nil {
			return "", fmt.Errorf("dump %s: %w", p, err)
		}
		constant := p.shared(table.Table[table.Service]{})
		for _, at := range sorted(have) {
			_, fixed := constant[at]
			if !fixed && len(have[at]) == 0 {
				fmt.Fprintf(&out, "%s %s %s empty\n", p.family, at.table, at.chain)
			}
			for _, rule := range have[at] {
				if !slices.Contains(constant[at], rule) {
					fmt.Fprintf(&out, "%s %s %s %s\n", p.family, at.table, at.chain, rule)
				}
			}
		}
	}
	return out.String(), nil
}
