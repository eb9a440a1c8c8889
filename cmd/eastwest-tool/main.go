// SPDX-License-Identifier: Apache-2.0

// Command eastwest-tool is the program of the built-in image eastwest.local/tool: a server that says who it is and who
// asked, and a client that makes requests and DNS look-ups from inside a pod.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"eastwest/internal/tool"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	code := tool.Run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
