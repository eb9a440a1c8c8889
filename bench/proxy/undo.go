// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// undo takes away what a measurement made, also when a signal ends it.
type undo struct {
	mu    sync.Mutex
	steps map[int]func()
	next  int
}

// later remembers a step, and returns how to take it now.
func (u *undo) later(step func()) (now func()) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.steps == nil {
		u.steps = map[int]func(){}
	}
	u.next++
	id := u.next
	u.steps[id] = step
	return func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		if step := u.steps[id]; step != nil {
			delete(u.steps, id)
			step()
		}
	}
}

func (u *undo) onSignal() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		<-signals
		u.mu.Lock()
		for id := u.next; id > 0; id-- { // the last one first
			if step := u.steps[id]; step != nil {
				step()
			}
		}
		os.Exit(1)
	}()
}
