// SPDX-License-Identifier: Apache-2.0

package reconcile

import (
	"context"
	"time"
)

// Pacer gathers changes that come fast: one piece of work for many costs less for each. A change that comes alone does not wait; while
// they keep coming, the time between two pieces of work is doubled from Least up to Most. It is not safe for concurrent use.
type Pacer struct {
	Least, Most time.Duration

	begun time.Time // of the last piece of work
	pace  time.Duration
}

// Wait is called when there is something to do, and returns when to do it; false when ctx ended.
func (p *Pacer) Wait(ctx context.Context) bool {
	rest := p.pace - time.Since(p.begun)
	if rest > 0 && !sleep(ctx, rest) {
		return false
	}
	if rest > 0 {
		p.pace = min(2*p.pace, p.Most)
	} else {
		p.pace = p.Least
	}
	p.begun = time.Now()
	return ctx.Err() == nil
}
