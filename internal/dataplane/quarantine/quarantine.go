// SPDX-License-Identifier: Apache-2.0

// Package quarantine keeps out the Services that the kernel refuses, so that the others go on. Backends write everything in
// few transactions, of which one bad object fails the whole.
//
//	Apply ─▶ backend.Apply ─fails twice─▶ Probe: halves of the rows, down to single ones ─▶ backend.Apply without those
//
// A row that is kept out is not served at all, and reported; it is tried again when it changes and at every resync.
package quarantine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"

	"eastwest/internal/dataplane"
	"eastwest/internal/table"
)

// Prober is a backend that can say what the kernel refuses.
type Prober interface {
	// Probe returns a function that writes what some rows need beside all that the kernel has. What it writes is made right by
	// the next Apply, which has to be of everything.
	Probe(ctx context.Context) (try func(ctx context.Context, rows []table.Service) error, err error)
}

// Config is what a Backend needs.
type Config struct {
	Prober Prober
	Report func(row table.Service, reason error) // of each row that is kept out from now on
}

// Backend is a services dataplane with another one inside. Apply is not safe for concurrent use.
type Backend struct {
	dataplane.Dataplane[table.Service]
	config   Config
	out      map[string]error         // rows that are kept out, and why
	told     atomic.Pointer[[]string] // the names in out, for others
	failed   bool                     // the last Apply did
	suspects []string                 // rows that changed when it did first
}

// Around makes a backend that applies with inner, and without what the kernel refuses.
func Around(inner dataplane.Dataplane[table.Service], config Config) *Backend {
	return &Backend{Dataplane: inner, config: config, out: map[string]error{}}
}

// Out returns the keys of the rows that are kept out, sorted. It is safe for concurrent use.
func (b *Backend) Out() []string {
	if list := b.told.Load(); list != nil {
		return *list
	}
	return nil
}

// Apply applies with the backend inside. An error that comes once may be a passing one; when it comes again, the rows are
// looked for that the kernel refuses.
func (b *Backend) Apply(ctx context.Context, want table.Table[table.Service], changed table.Keys) error {
	for name := range b.out {
		_, there := want.Get(name)
		if !there || !changed.All && slices.Contains(changed.Names, name) {
			delete(b.out, name)
		}
	}
	before := slices.Collect(maps.Keys(b.out))
	err := b.Dataplane.Apply(ctx, b.without(want), changed)
	if err != nil && b.failed && ctx.Err() == nil {
		err = b.exclude(ctx, want, err)
	}
	if err == nil && changed.All {
		err = b.retry(ctx, want, before)
	}
	b.failed = err != nil
	if err == nil {
		b.suspects = nil
	} else if !changed.All {
		b.suspects = changed.Names
	}
	out := slices.Sorted(maps.Keys(b.out))
	b.told.Store(&out)
	return err
}

func (b *Backend) without(want table.Table[table.Service]) table.Table[table.Service] {
	if len(b.out) == 0 {
		return want
	}
	return want.With(nil, slices.Collect(maps.Keys(b.out))...)
}

// retry takes rows in again that the kernel no longer refuses.
func (b *Backend) retry(ctx context.Context, want table.Table[table.Service], names []string) error {
	if len(names) == 0 {
		return nil
	}
	try, err := b.config.Prober.Probe(ctx)
	if err != nil {
		return fmt.Errorf("try refused services again: %w", err)
	}
	for _, name := range names {
		row, _ := want.Get(name)
		if try(ctx, []table.Service{row}) == nil {
			delete(b.out, name)
		}
	}
	return b.Dataplane.Apply(ctx, b.without(want), table.Keys{All: true})
}

// exclude finds the rows for which the kernel refuses everything, and applies the others. It returns cause when there are
// none: then something else is wrong.
func (b *Backend) exclude(ctx context.Context, want table.Table[table.Service], cause error) error {
	refused, err := b.search(ctx, want)
	if err != nil {
		return errors.Join(cause, err)
	}
	if len(refused) == 0 {
		return cause
	}
	for name, reason := range refused {
		b.out[name] = reason
	}
	if err := b.Dataplane.Apply(ctx, b.without(want), table.Keys{All: true}); err != nil {
		for name := range refused {
			delete(b.out, name)
		}
		return errors.Join(cause, fmt.Errorf("apply without %d refused services: %w", len(refused), err))
	}
	for name, reason := range refused {
		row, _ := want.Get(name)
		b.config.Report(row, reason)
	}
	return nil
}

// search looks among the rows that changed when the trouble began, and then among all.
func (b *Backend) search(ctx context.Context, want table.Table[table.Service]) (map[string]error, error) {
	try, err := b.config.Prober.Probe(ctx)
	if err != nil {
		return nil, fmt.Errorf("look for refused services: %w", err)
	}
	kept := b.without(want)
	for _, names := range [][]string{b.suspects, kept.Keys()} {
		var rows []table.Service
		for _, name := range names {
			if row, ok := kept.Get(name); ok {
				rows = append(rows, row)
			}
		}
		s := search{try: try, refused: map[string]error{}}
		for chunk := range slices.Chunk(rows, together) {
			s.among(ctx, chunk)
		}
		if len(s.refused) > 0 && !s.hopeless() {
			return s.refused, ctx.Err()
		}
	}
	return nil, ctx.Err()
}

const (
	together = 64  // rows that are tried at once
	most     = 100 // of so many refused rows the kernel, not the rows, is the reason
	doubtful = 3   // and of so many when it took none at all
)

// search is one search for refused rows.
type search struct {
	try     func(ctx context.Context, rows []table.Service) error
	taken   bool // the kernel took something
	refused map[string]error
}

func (s *search) hopeless() bool {
	return len(s.refused) >= most || !s.taken && len(s.refused) >= doubtful
}

func (s *search) among(ctx context.Context, rows []table.Service) {
	if len(rows) == 0 || s.hopeless() || ctx.Err() != nil {
		return
	}
	err := s.try(ctx, rows)
	switch {
	case err == nil:
		s.taken = true
	case len(rows) == 1:
		s.refused[rows[0].Key()] = err
	default:
		s.among(ctx, rows[:len(rows)/2])
		s.among(ctx, rows[len(rows)/2:])
	}
}
