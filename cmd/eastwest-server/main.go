// SPDX-License-Identifier: Apache-2.0

// Command eastwest-server is the control plane of a cluster.
package main

import (
	"context"
	"os"
	"runtime"
	"strings"

	"eastwest/internal/cli/servercmd"
)

func main() {
	// Samples of the heap are kept for as long as the process lives, and cost a server 3 MB. GODEBUG=memprofilerate=524288
	// has them taken, for /debug/pprof/heap.
	if !strings.Contains(os.Getenv("GODEBUG"), "memprofilerate=") {
		runtime.MemProfileRate = 0
	}
	os.Exit(servercmd.Main(context.Background(), os.Args[1:], os.Stderr))
}
