// SPDX-License-Identifier: Apache-2.0

package pod

import (
	"context"
	"slices"
	"sync"
	"time"

	"eastwest/internal/kubelet/podstate"
	"eastwest/internal/kubelet/render"
)

// arrivals has pods judged in the order in which they were made, though each has a goroutine of its own: of two that want the same port of the node, it is the
// first that gets it.
type arrivals struct {
	mu      sync.Mutex
	moved   *sync.Cond
	waiting []*arrival // in the order in which they are to be judged
}

type arrival struct{ created time.Time }

func newArrivals() *arrivals {
	a := &arrivals{}
	a.moved = sync.NewCond(&a.mu)
	return a
}

// join takes a place in the line: after all that are as old. Who has no time of creation goes first.
func (a *arrivals) join(created time.Time) *arrival {
	a.mu.Lock()
	defer a.mu.Unlock()
	one := &arrival{created}
	at := len(a.waiting)
	for at > 0 && a.waiting[at-1].created.After(created) {
		at--
	}
	a.waiting = slices.Insert(a.waiting, at, one)
	return one
}

// leave gives a place up; it may be called more than once.
func (a *arrivals) leave(one *arrival) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if at := slices.Index(a.waiting, one); at >= 0 {
		a.waiting = slices.Delete(a.waiting, at, at+1)
		a.moved.Broadcast()
	}
}

// await waits until a place is the first, or given up, or ctx ends.
func (a *arrivals) await(ctx context.Context, one *arrival) {
	defer context.AfterFunc(ctx, func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.moved.Broadcast()
	})()
	a.mu.Lock()
	defer a.mu.Unlock()
	for ctx.Err() == nil && slices.Index(a.waiting, one) > 0 {
		a.moved.Wait()
	}
}

// awaitTurn waits until all older pods were judged, if this one needs room that they may want. What an API that is being listed still holds may be older
// than what it has told; pods of the node itself do not wait for it.
func (w *worker) awaitTurn(ctx context.Context, state *podstate.State) {
	w.mu.Lock()
	decided := w.admitted || len(state.Sandboxes) > 0 || w.leaving() || w.terminal()
	static := render.IsStatic(w.pod)
	w.mu.Unlock()
	if decided {
		return
	}
	if !static {
		select {
		case <-w.m.config.Listed:
		case <-ctx.Done():
		}
	}
	w.m.arrivals.await(ctx, w.arrival)
}
