// SPDX-License-Identifier: Apache-2.0

// Package handover leaves for the next process what the kernel has, so that a start with everything in place reads and writes
// nothing but what changed meanwhile.
//
//	Apply ─▶ rows as written, at transaction 41 ─▶ file          next process: transaction 41 still the last ─▶ those are there
//	                                                                           another one since            ─▶ all is read
//
// The kernel numbers transactions of nftables. What was left is true as long as no other transaction followed, whoever left it and
// however that ended: so it is left now and then, and not only at the end.
package handover

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"eastwest/internal/dataplane"
	"eastwest/internal/table"
)

// Carrier is a services backend that can go on from what another process wrote.
type Carrier interface {
	dataplane.Dataplane[table.Service]
	Probe(ctx context.Context) (try func(ctx context.Context, rows []table.Service) error, err error)
	// Written returns what the last Apply made the kernel have: the rows as they were written, and what else has to be known of them.
	Written() (rows table.Table[table.Service], rest []byte)
	// TakeOver takes what Written returned, in another process, for what the kernel has.
	TakeOver(rows table.Table[table.Service], rest []byte) error
	// Same reports whether a row as it was written is what a row asks for.
	Same(written, row table.Service) bool
}

// Ledger knows the kernel's transactions.
type Ledger interface {
	Run(ctx context.Context, changed func(heard bool)) error
	Begun() <-chan struct{} // closed when it knows what follows, or never will
	Generation() (last uint32, err error)
	// Untouched returns the last transaction, and whether nobody else touched what is followed from since up to it, as far as that is
	// known when ctx ends.
	Untouched(ctx context.Context, since uint32) (last uint32, ok bool)
}

// Config is what a Backend needs.
type Config struct {
	Ledger Ledger
	// File is what is left for the next process; empty for nothing.
	File string
	// Place and Form say where and how rows are written: only a process with the same takes over.
	Place, Form string
	Every       time.Duration // how often it is left, less often where that takes long; default 30 s
	Log         *slog.Logger
}

// Backend is a services dataplane with another one inside. It is safe for concurrent use.
type Backend struct {
	Carrier
	config Config
	before chan remains // what the last process left, read while the first table is made

	mu      sync.Mutex
	started bool
	known   bool   // the kernel has what the carrier wrote, but for what others did since
	since   uint32 // transactions up to this one are known of
	news    bool   // something was applied since it was left
	left    uint32 // transaction that it was left at
}

var _ dataplane.Dataplane[table.Service] = (*Backend)(nil)

// Around makes a backend that applies with carrier. Its first Apply waits until Run follows the kernel.
func Around(carrier Carrier, config Config) *Backend {
	if config.Every <= 0 {
		config.Every = 30 * time.Second
	}
	return &Backend{Carrier: carrier, config: config, before: make(chan remains, 1)}
}

// Apply applies with the backend inside; the first time, where that can be known, only what differs from what another process left.
func (b *Backend) Apply(ctx context.Context, want table.Table[table.Service], changed table.Keys) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.started {
		select {
		case <-b.config.Ledger.Begun():
		case <-ctx.Done():
			return ctx.Err()
		}
		b.started = true
		if names, ok := b.takeOver(ctx, <-b.before, want); ok {
			changed = table.Keys{Names: names}
		}
	}
	known, since := b.known, b.since
	if changed.All { // what happened before does not matter any more
		last, err := b.config.Ledger.Generation()
		known, since = err == nil, last
	}
	b.known, b.news = false, true
	if err := b.Carrier.Apply(ctx, want, changed); err != nil {
		return err
	}
	b.known, b.since = known, since
	return nil
}

// Probe tries rows, whereafter nothing is known until everything is applied again.
func (b *Backend) Probe(ctx context.Context) (func(context.Context, []table.Service) error, error) {
	b.forget()
	return b.Carrier.Probe(ctx)
}

// Remove takes away what the backend inside wrote.
func (b *Backend) Remove(ctx context.Context) error {
	b.forget()
	return b.Carrier.Remove(ctx)
}

func (b *Backend) forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.known = false
}

// takeOver makes the carrier go on from what another process left, and returns the rows that differ.
func (b *Backend) takeOver(ctx context.Context, left remains, want table.Table[table.Service]) (names []string, ok bool) {
	if left.err != nil {
		b.config.Log.Info("read what the kernel has: nothing tells it", "err", left.err)
		return nil, false
	}
	if last, ok := b.untouched(ctx, left.what.Generation, patience); !ok {
		b.config.Log.Info("read what the kernel has: it was changed meanwhile", "known", left.what.Generation, "last", last)
		return nil, false
	}
	rows := make(map[string]table.Service, len(left.rows))
	for _, row := range left.rows {
		key := row.Key()
		now, wanted := want.Get(key)
		switch {
		case !wanted || !b.Carrier.Same(row, now):
			names = append(names, key)
		case row.Equal(now):
			row = now // one row in memory instead of two
		}
		rows[key] = row
	}
	for key := range want.All() {
		if _, there := rows[key]; !there {
			names = append(names, key)
		}
	}
	if err := b.Carrier.TakeOver(table.Table[table.Service]{}.With(rows), left.what.Rest); err != nil {
		b.config.Log.Info("read what the kernel has: what was left of it means nothing", "err", err)
		return nil, false
	}
	b.config.Log.Info("go on from what the kernel has", "services", len(rows), "changed", len(names))
	b.known, b.since, b.left = true, left.what.Generation, left.what.Generation
	return names, true
}

// News of transactions come within a moment, on a busy machine within some. Nothing is applied while the last of them are waited for.
const (
	patience = 5 * time.Second
	moment   = time.Second
)

func (b *Backend) untouched(ctx context.Context, since uint32, wait time.Duration) (last uint32, ok bool) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	return b.config.Ledger.Untouched(ctx, since)
}

// rests is how many times longer than it took to leave something nothing is left: half a percent of the time is enough.
const rests = 200

// Run follows the kernel, calls changed when another program touched what was written (heard), or may have, and leaves what the kernel has
// now and then and when ctx ends.
func (b *Backend) Run(ctx context.Context, changed func(heard bool)) error {
	following, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { b.before <- b.read() }()
	go func() { ended <- b.config.Ledger.Run(following, changed) }()
	defer stop()
	timer := time.NewTimer(b.config.Every)
	defer timer.Stop()
	for {
		select {
		case err := <-ended:
			return err
		case <-ctx.Done():
			b.leave(following)
			stop()
			<-ended
			return ctx.Err()
		case <-timer.C:
		}
		begin := time.Now()
		b.leave(ctx)
		timer.Reset(max(b.config.Every, rests*time.Since(begin)))
	}
}

// leave writes the file, if there is something to tell.
func (b *Backend) leave(ctx context.Context) {
	if b.config.File == "" {
		return
	}
	what, ok := b.image(ctx)
	if !ok {
		return
	}
	err := b.write(what)
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil {
		b.news = true
		b.config.Log.Warn("leave for the next start what the kernel has", "err", err)
		return
	}
	b.left = what.Generation
}

// image returns what is to be left; ok is false when nothing is known, or nothing is new.
func (b *Backend) image(ctx context.Context) (what image, ok bool) {
	b.mu.Lock()
	known, since := b.known, b.since
	b.mu.Unlock()
	if known {
		b.untouched(ctx, since, patience)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.known {
		return image{}, false
	}
	last, ok := b.untouched(ctx, b.since, moment)
	if !ok {
		return image{}, false
	}
	if b.since = last; !b.news && b.left == last {
		return image{}, false
	}
	b.news = false
	rows, rest := b.Carrier.Written()
	return image{Place: b.config.Place, Form: b.config.Form, Generation: last, Rest: rest, rows: rows}, true
}
