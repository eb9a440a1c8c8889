// SPDX-License-Identifier: Apache-2.0

package forward

import (
	"context"
	"sync/atomic"
	"time"
)

// A timer costs more than it seems: the scheduler may wake a processor to watch over it. A question that is answered in time
// has one, that of its socket's deadline.

// due is a context with a deadline of its own that nothing watches over: who waits has to look at it.
type due struct {
	context.Context
	at time.Time
}

// WithDue returns a context with a deadline at which it is not done; its Deadline and Err know of it.
func WithDue(ctx context.Context, after time.Duration) context.Context {
	at := time.Now().Add(after)
	if earlier, ok := ctx.Deadline(); ok && earlier.Before(at) {
		at = earlier
	}
	return due{ctx, at}
}

func (d due) Deadline() (time.Time, bool) { return d.at, true }

func (d due) Err() error {
	if err := d.Context.Err(); err != nil {
		return err
	}
	if !time.Now().Before(d.at) {
		return context.DeadlineExceeded
	}
	return nil
}

// patience is what is done, once, when an answer takes longer than it ought to.
type patience struct {
	until time.Time
	do    func() // in a goroutine of its own
	over  atomic.Bool
}

// lose begins what is to be done, unless the answer is there.
func (p *patience) lose() {
	if p.over.CompareAndSwap(false, true) {
		go p.do()
	}
}

// end reports whether the answer was in time: then nothing is done any more.
func (p *patience) end() bool { return p.over.CompareAndSwap(false, true) }

// watch is for those who cannot look at the time themselves; stop ends it.
func (p *patience) watch() (stop func() bool) {
	if p == nil {
		return func() bool { return true }
	}
	return time.AfterFunc(time.Until(p.until), p.lose).Stop
}

// deadline is when to look again: when patience ends, if that is not over, or else at the end.
func (p *patience) deadline(end time.Time) time.Time {
	if p == nil || p.over.Load() || end.Before(p.until) {
		return end
	}
	return p.until
}
