// SPDX-License-Identifier: Apache-2.0

package forward

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	mdns "github.com/miekg/dns"
)

// asked is a question on its way to one server.
type asked struct {
	u     *upstream
	ctx   context.Context
	q     *mdns.Msg              // as it was sent
	then  func(*mdns.Msg, error) // called once, in whatever goroutine the response was read; must not wait for anything
	late  func()                 // called before, and in a goroutine of its own, where the response takes longer than it ought to; may be nil
	probe bool                   // the server's health does not depend on it
	began time.Time
	limit time.Duration // how long it ought to take

	line   *line // nil over TCP, which keeps its time itself
	missed bool  // late was called
	over   atomic.Bool
	given  atomic.Bool // up: nobody wants to know any more
}

// start sends a question over UDP, and over TCP if the response is cut short; or over TLS.
func (u *upstream) start(a *asked) {
	a.u, a.began, a.limit = u, time.Now(), u.patience()
	a.ctx, a.q = WithDue(a.ctx, askTimeout), outgoing(a.q)
	if u.secure != nil {
		u.watch.add(a)
		go func() { a.end(u.secure.ask(a.ctx, a.q)) }()
		return
	}
	l, err := u.lines.take()
	if err == nil {
		a.line = l
		if err = l.ask(a); err != nil {
			_ = l.conn.Close()
		}
	}
	if err != nil {
		a.end(nil, err)
		return
	}
	u.watch.add(a)
}

// received is told what came over UDP.
func (a *asked) received(m *mdns.Msg, err error) {
	if err == nil && m.Truncated {
		go func() { a.end(a.u.askTCP(a.ctx, a.q)) }()
		return
	}
	a.end(m, err)
}

func (a *asked) end(m *mdns.Msg, err error) {
	a.over.Store(true)
	if err != nil {
		if a.done() != nil {
			err = a.done()
		}
		m, err = nil, fmt.Errorf("ask %s about %s: %w", a.u.server, a.q.Question[0].Name, err)
	} else {
		scrub(a.q, m)
	}
	if !a.probe {
		a.u.learn(time.Since(a.began), err)
	}
	a.then(m, err)
}

// done says why the question need not be answered any more, if so.
func (a *asked) done() error {
	if a.given.Load() {
		return context.Canceled
	}
	return a.ctx.Err()
}

// exchange asks the server and waits for what comes of it.
func (u *upstream) exchange(ctx context.Context, m *mdns.Msg, probe bool) (*mdns.Msg, error) {
	done := make(chan result, 1)
	u.start(&asked{ctx: ctx, q: m, probe: probe, then: func(m *mdns.Msg, err error) { done <- result{m, err} }})
	select {
	case r := <-done:
		return r.m, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// watchEvery is how exactly times are kept. A timer a question would cost more than it seems: the scheduler may wake a
// processor to watch over it.
const watchEvery = 20 * time.Millisecond

// watch tells those whose answer is late. It rests while nothing was asked.
type watch struct {
	mu    sync.Mutex
	all   []*asked
	timer *time.Timer // nil while it rests
}

func (w *watch) add(a *asked) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all = append(w.all, a)
	if w.timer == nil {
		w.timer = time.AfterFunc(watchEvery, w.look)
	}
}

func (w *watch) look() {
	w.mu.Lock()
	var expired []*asked
	left := w.all[:0]
	for _, a := range w.all {
		if a.over.Load() {
			continue
		}
		switch {
		case a.line != nil && a.done() != nil:
			expired = append(expired, a)
			continue
		case !a.missed && time.Since(a.began) >= a.limit:
			a.missed = true
			if !a.probe {
				a.u.late(time.Since(a.began))
			}
			if a.late != nil {
				go a.late()
			}
		}
		left = append(left, a)
	}
	clear(w.all[len(left):])
	w.all = left
	if w.timer = nil; len(left) > 0 {
		w.timer = time.AfterFunc(watchEvery, w.look)
	}
	w.mu.Unlock()
	for _, a := range expired {
		a.line.expire(a)
	}
}

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
