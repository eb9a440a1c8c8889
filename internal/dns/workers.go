// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"sync"
	"sync/atomic"
)

// maxIdleWorkers is how many goroutines wait for the next job.
const maxIdleWorkers = 8

// workers are goroutines that do one job after the other. The stack of a new one would have to grow first, step by step,
// while a client waits.
type workers struct {
	next chan func()
	idle *atomic.Int32
	quit chan struct{}
}

func newWorkers() workers {
	return workers{next: make(chan func()), idle: new(atomic.Int32), quit: make(chan struct{})}
}

// do has a job done beside; running counts it.
func (w *workers) do(running *sync.WaitGroup, job func()) {
	select {
	case w.next <- job:
	default:
		running.Go(func() { w.work(job) })
	}
}

func (w *workers) work(job func()) {
	for {
		job()
		if w.idle.Add(1) > maxIdleWorkers {
			w.idle.Add(-1)
			return
		}
		select {
		case job = <-w.next:
			w.idle.Add(-1)
		case <-w.quit:
			return
		}
	}
}

// end lets those go that have no job. Later ones find new goroutines.
func (w *workers) end() { close(w.quit) }
