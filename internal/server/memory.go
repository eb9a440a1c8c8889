// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// settleAfter is how long after the first answer the start is over: caches are filled and nodes have joined.
const settleAfter = 15 * time.Second

// A server at rest bounds its heap more tightly than Go's own busyGCPercent, which a start and a server with much to do
// keep: collecting took a tenth of their processor time otherwise. GOGC, where set, decides instead.
const (
	restGCPercent = 50
	busyGCPercent = 100
)

// A server is busy from busyCycles collections in one period on, and rests after restPeriods in a row with next to none.
const (
	gcPeriod    = 5 * time.Second
	busyCycles  = 5
	restPeriods = 6
)

// settle gives back what only the start needed, once it is over: the garbage that it left. After it the heap follows what
// the server has to do, until ctx ends.
func settle(ctx context.Context, serving <-chan struct{}) {
	select {
	case <-serving:
	case <-ctx.Done():
		return
	}
	if !sleep(ctx, settleAfter) {
		return
	}
	debug.FreeOSMemory()
	if os.Getenv("GOGC") != "" {
		return
	}
	debug.SetGCPercent(restGCPercent)
	p := pace{cycles: collections()}
	for sleep(ctx, gcPeriod) {
		if percent := p.after(collections()); percent != 0 {
			debug.SetGCPercent(percent)
		}
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// collections is how many cycles the collector has finished.
func collections() uint64 {
	sample := []metrics.Sample{{Name: "/gc/cycles/total:gc-cycles"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// pace tells a server that has much to do from one at rest.
type pace struct {
	cycles uint64 // collections until the period before
	busy   bool
	quiet  int // periods in a row with next to none
}

// after returns the percentage that is right from the end of a period on, by which there were so many collections, or 0
// when it is what it was.
func (p *pace) after(cycles uint64) int {
	n := cycles - p.cycles
	p.cycles = cycles
	if n > 1 {
		p.quiet = 0
	} else {
		p.quiet++
	}
	switch {
	case !p.busy && n >= busyCycles:
		p.busy = true
		return busyGCPercent
	case p.busy && p.quiet >= restPeriods:
		p.busy = false
		return restGCPercent
	}
	return 0
}
