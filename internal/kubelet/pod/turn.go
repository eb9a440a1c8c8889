// SPDX-License-Identifier: Apache-2.0

package pod

import (
	"context"
	"runtime"
	"sync"
	"time"
)

// turnLasts bounds how long a pod that starts keeps others waiting: one that pulls an image, or whose network hangs, has lost its turn.
const turnLasts = time.Second

// turns has pods that are created at once start one after another, a few for each processor, so that the first of them run while the
// last still wait, instead of all of them getting in each other's way.
type turns chan struct{}

func newTurns() turns { return make(turns, max(4, 2*runtime.NumCPU())) }

// take waits for a turn and returns how to end it, which may be done more than once.
func (t turns) take(ctx context.Context) (end func()) {
	select {
	case t <- struct{}{}:
	case <-ctx.Done():
		return func() {}
	}
	leave := sync.OnceFunc(func() { <-t })
	timer := time.AfterFunc(turnLasts, leave)
	return func() { timer.Stop(); leave() }
}
