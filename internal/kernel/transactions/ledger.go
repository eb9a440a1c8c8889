// SPDX-License-Identifier: Apache-2.0

package transactions

import (
	"context"
	"sync"

	"eastwest/internal/kernel/netns"
)

// Ledger knows up to which transaction nobody but this program touched something. It is safe for concurrent use.
type Ledger struct {
	netns   string
	writers *Writers
	about   func(Message) bool

	once  sync.Once
	begun chan struct{}

	mu        sync.Mutex
	listening bool
	news      chan struct{} // closed when one of those below changes
	from      uint32        // the last transaction before the first that was heard of
	seen      uint32        // the last that was heard of
	foreign   uint32        // the last that may have touched it from outside; from when none has
}

// NewLedger makes a ledger of a network namespace, the program's own where the path is empty. writers write for this program, and about
// tells what is followed.
func NewLedger(path string, writers *Writers, about func(Message) bool) *Ledger {
	return &Ledger{netns: path, writers: writers, about: about, begun: make(chan struct{}), news: make(chan struct{})}
}

// Run listens until ctx ends, and calls changed soon after somebody else touched what is followed: heard is false where that only may be,
// because news were lost.
func (l *Ledger) Run(ctx context.Context, changed func(heard bool)) error {
	defer l.once.Do(func() { close(l.begun) })
	var listener *Listener
	var last uint32
	err := l.do(func() (err error) {
		if listener, err = Listen(); err != nil {
			return err
		}
		last, err = Generation() // all that come after it are heard of
		return err
	})
	if err != nil {
		if listener != nil {
			listener.conn.Close()
		}
		return err
	}
	l.set(func() { l.listening, l.from, l.seen, l.foreign = true, last, last, last })
	defer l.set(func() { l.listening = false })
	l.once.Do(func() { close(l.begun) })
	touched := false
	return listener.Follow(ctx,
		func(m Message) { touched = touched || l.about(m) },
		func(t Transaction) {
			about := touched
			touched = false
			if foreign, heard := l.end(t, about); foreign {
				changed(heard)
			}
		},
		func() {
			touched = false
			l.lose()
			changed(false)
		})
}

// end notes a transaction and reports whether somebody else touched what is followed, or may have, and whether it was heard of.
func (l *Ledger) end(t Transaction, about bool) (foreign, heard bool) {
	own := !about || l.writers.Wrote(t.Port, t.Generation)
	l.set(func() {
		if !after(t.Generation, l.seen) {
			return // it was there when the ledger began, or is part of what was lost
		}
		// One that was not heard of may have done anything.
		foreign, heard = !own || t.Generation != l.seen+1, !own
		if l.seen = t.Generation; foreign {
			l.foreign = t.Generation
		}
	})
	return foreign, heard
}

// lose notes that nothing is known of the transactions up to now.
func (l *Ledger) lose() {
	var last uint32
	err := l.do(func() (err error) { last, err = Generation(); return err })
	l.set(func() {
		if err != nil {
			l.listening = false
			return
		}
		l.seen, l.foreign = last, last
	})
}

func (l *Ledger) set(change func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change()
	close(l.news)
	l.news = make(chan struct{})
}

// Begun is closed when the ledger listens, or cannot.
func (l *Ledger) Begun() <-chan struct{} { return l.begun }

// Generation returns the number of the last transaction.
func (l *Ledger) Generation() (last uint32, err error) {
	err = l.do(func() (err error) { last, err = Generation(); return err })
	return last, err
}

// Untouched returns the number of the last transaction, and whether nobody else touched what is followed from since up to it. News of
// the last ones may take a moment: they are waited for until ctx ends.
func (l *Ledger) Untouched(ctx context.Context, since uint32) (last uint32, ok bool) {
	last, err := l.Generation()
	if err != nil {
		return 0, false
	}
	for {
		l.mu.Lock()
		heard, news := !after(last, l.seen), l.news
		ok := l.listening && !after(l.from, since) && !after(l.foreign, since)
		l.mu.Unlock()
		if heard || !ok {
			return last, ok && heard
		}
		select {
		case <-news:
		case <-ctx.Done():
			return last, false
		}
	}
}

func (l *Ledger) do(fn func() error) error {
	if l.netns == "" {
		return fn()
	}
	return netns.Do(l.netns, fn)
}
