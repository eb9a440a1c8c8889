// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"os"
	"runtime/debug"
	"time"
)

// settleAfter is how long after the first answer the start is over: caches are filled and nodes have joined.
const settleAfter = 15 * time.Second

// steadyGCPercent bounds the heap of a server that has started, where little is allocated. The start allocates much in
// a short time and keeps Go's own 100. GOGC, where set, decides instead.
const steadyGCPercent = 50

// settle gives back what only the start needed, once it is over: the garbage that it left.
func settle(ctx context.Context, serving <-chan struct{}) {
	select {
	case <-serving:
	case <-ctx.Done():
		return
	}
	select {
	case <-time.After(settleAfter):
	case <-ctx.Done():
		return
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(steadyGCPercent)
	}
	debug.FreeOSMemory()
}
