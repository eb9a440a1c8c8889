// SPDX-License-Identifier: Apache-2.0

// Package reconcile brings tables to their dataplanes: one Loop for each, which takes tables as fast as they come,
// applies the newest, tries again after an error and checks everything on a slow timer.
//
//	Offer(table, changed) ─▶ pending (merged) ─▶ Apply ─▶ done
//	                              ▲   error: everything, after a pause
//	                              └── resync: everything, on a timer or when somebody asks
package reconcile

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"eastwest/internal/table"
)

// Applier is the part of a dataplane that a loop drives.
type Applier[R any] interface {
	Apply(ctx context.Context, want table.Table[R], changed table.Keys) error
}

// Config is what a Loop needs. Zero durations take the defaults.
type Config struct {
	Name     string        // of the dataplane, in log lines
	Resync   time.Duration // everything is applied this often, less often where it takes long; default 5 minutes
	MinRetry time.Duration // first pause after an error, doubled each time; default 100 ms
	MaxRetry time.Duration // default 30 s
	// Pace is how long after the begin of one apply the next begins at the earliest: changes that come faster are applied
	// together, which costs less for each. A change that comes alone does not wait. Default none.
	Pace time.Duration
	Log  *slog.Logger
}

// Loop applies tables of one kind. Offer and Resync are safe for concurrent use.
type Loop[R any] struct {
	config Config
	target Applier[R]

	mu      sync.Mutex
	want    table.Table[R]
	all     bool
	changed map[string]bool
	offered bool
	oldest  time.Time // when the oldest change that waits was offered; zero when none waits
	working time.Time // the same of what is being applied
	applied time.Time // when everything offered was applied last
	wake    chan struct{}

	compared time.Time     // when everything was applied last; of Run alone
	took     time.Duration // and how long that was

	once  sync.Once
	ready chan struct{}
}

// rests is how many times longer than it took to apply everything nothing is compared: half a percent of the time is enough.
const rests = 200

// NewLoop makes a loop for target; Run starts it.
func NewLoop[R any](config Config, target Applier[R]) *Loop[R] {
	config.Resync = withDefault(config.Resync, 5*time.Minute)
	config.MinRetry = withDefault(config.MinRetry, 100*time.Millisecond)
	config.MaxRetry = withDefault(config.MaxRetry, 30*time.Second)
	return &Loop[R]{
		config: config, target: target, all: true, changed: map[string]bool{},
		wake: make(chan struct{}, 1), ready: make(chan struct{}),
	}
}

// Offer hands over a newer table; changed names what differs from the one offered before. Nothing is applied before the
// first Offer.
func (l *Loop[R]) Offer(want table.Table[R], changed table.Keys) {
	l.mu.Lock()
	l.want, l.offered = want, true
	l.all = l.all || changed.All
	if l.oldest.IsZero() && (l.all || len(changed.Names) > 0) {
		l.oldest = time.Now()
	}
	for _, name := range changed.Names {
		l.changed[name] = true
	}
	l.mu.Unlock()
	l.poke()
}

// Resync has everything applied again soon, for somebody who saw the kernel change behind our back.
func (l *Loop[R]) Resync() {
	l.mu.Lock()
	l.all = true
	l.mu.Unlock()
	l.poke()
}

// Ready is closed when a table was applied for the first time.
func (l *Loop[R]) Ready() <-chan struct{} { return l.ready }

// Progress returns when everything was applied last, and since when a change waits; each is zero when there is none.
func (l *Loop[R]) Progress() (applied, waiting time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.working.IsZero() {
		return l.applied, l.working
	}
	return l.applied, l.oldest
}

// Run applies until ctx ends.
func (l *Loop[R]) Run(ctx context.Context) error {
	resync := time.NewTicker(l.config.Resync)
	defer resync.Stop()
	var pause time.Duration
	for {
		begin := time.Now()
		err := l.step(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			pause = min(max(2*pause, l.config.MinRetry), l.config.MaxRetry)
			l.config.Log.Error("apply failed", "dataplane", l.config.Name, "retry", pause, "err", err)
			if !sleep(ctx, pause) {
				return ctx.Err()
			}
			continue
		}
		pause = 0
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-l.wake:
		case <-resync.C:
			if time.Since(l.compared) > rests*l.took {
				l.Resync()
			}
		}
		if rest := l.config.Pace - time.Since(begin); rest > 0 && !sleep(ctx, rest) {
			return ctx.Err()
		}
	}
}

// step applies what is pending, if anything is.
func (l *Loop[R]) step(ctx context.Context) error {
	want, keys, ok := l.take()
	if !ok {
		return nil
	}
	begin := time.Now()
	err := l.target.Apply(ctx, want, keys)
	if keys.All {
		l.compared, l.took = time.Now(), time.Since(begin)
	}
	l.mu.Lock()
	if err != nil {
		l.all, l.oldest = true, l.working
	} else {
		l.applied = time.Now()
	}
	l.working = time.Time{}
	l.mu.Unlock()
	if err != nil {
		return err
	}
	l.once.Do(func() { close(l.ready) })
	return nil
}

func (l *Loop[R]) take() (table.Table[R], table.Keys, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.offered || (!l.all && len(l.changed) == 0) {
		return l.want, table.Keys{}, false
	}
	keys := table.Keys{All: l.all}
	if !l.all {
		for name := range l.changed {
			keys.Names = append(keys.Names, name)
		}
	}
	l.all, l.working, l.oldest = false, l.oldest, time.Time{}
	if len(l.changed) > 0 {
		l.changed = map[string]bool{} // one that once held everything stays large, and slow to go through
	}
	return l.want, keys, true
}

func (l *Loop[R]) poke() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func withDefault(d, standard time.Duration) time.Duration {
	if d == 0 {
		return standard
	}
	return d
}

func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
