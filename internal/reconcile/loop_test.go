// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"eastwest/internal/table"
)

// moody is a target that fails half of the time and applies only what it is told changed.
type moody struct {
	mu      sync.Mutex
	rows    map[string]int
	applied chan struct{}
}

func (m *moody) Apply(_ context.Context, want table.Table[int], changed table.Keys) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if rand.IntN(2) == 0 {
		return errors.New("not now")
	}
	if changed.All {
		m.rows = maps.Collect(want.All())
	}
	for _, key := range changed.Names {
		row, ok := want.Get(key)
		if ok {
			m.rows[key] = row
		} else {
			delete(m.rows, key)
		}
	}
	select {
	case m.applied <- struct{}{}:
	default:
	}
	return nil
}

func (m *moody) copied() map[string]int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.rows)
}

// However often the target fails and however fast tables come, the last table is there in the end.
func TestLoopConverges(t *testing.T) {
	target := &moody{rows: map[string]int{}, applied: make(chan struct{}, 1)}
	loop := NewLoop(Config{Name: "test", MinRetry: time.Microsecond, MaxRetry: time.Millisecond, Pace: time.Millisecond, Log: slog.New(slog.DiscardHandler)}, target)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = loop.Run(ctx) }()
	var want table.Table[int]
	for i := range 200 {
		key := string(rune('a' + i%7))
		if i%5 == 0 {
			want = want.With(nil, key)
		} else {
			want = want.With(map[string]int{key: i})
		}
		loop.Offer(want, table.Keys{Names: []string{key}})
	}
	<-loop.Ready()
	deadline := time.After(30 * time.Second)
	for {
		diff := cmp.Diff(maps.Collect(want.All()), target.copied())
		if diff == "" {
			break
		}
		select {
		case <-target.applied:
		case <-deadline:
			t.Fatalf("rows (-want +have):\n%s", diff)
		}
	}
	cancel()
	<-done
}

// Nothing is applied before the first table is offered, not even nothing.
func TestNothingIsAppliedBeforeTheFirstOffer(t *testing.T) {
	target := &moody{rows: map[string]int{"there": 1}, applied: make(chan struct{}, 1)}
	loop := NewLoop(Config{Name: "test", Log: slog.New(slog.DiscardHandler)}, target)
	loop.Resync()
	if err := loop.step(t.Context()); err != nil || len(target.copied()) != 1 {
		t.Errorf("step = %v, rows %v", err, target.copied())
	}
}

// Somebody who watches over the loop sees since when a change waits, also while it is being applied and after it failed.
func TestProgress(t *testing.T) {
	gate, fail := make(chan bool), true
	loop := NewLoop(Config{Log: slog.New(slog.DiscardHandler), MinRetry: time.Millisecond}, applierFunc(func() error {
		<-gate
		if fail {
			fail = false
			return errors.New("no")
		}
		return nil
	}))
	waiting := func() bool { _, since := loop.Progress(); return !since.IsZero() }
	if waiting() {
		t.Error("waiting before anything was offered")
	}
	loop.Offer(table.Table[int]{}, table.Keys{All: true})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { _ = loop.Run(ctx); close(done) }()
	gate <- true
	if !waiting() {
		t.Error("not waiting after a failure")
	}
	gate <- true
	<-loop.Ready()
	if applied, _ := loop.Progress(); applied.IsZero() || waiting() {
		t.Error("waiting after everything was applied")
	}
	cancel()
	<-done
}

type applierFunc func() error

func (f applierFunc) Apply(context.Context, table.Table[int], table.Keys) error { return f() }
