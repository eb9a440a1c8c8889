// SPDX-License-Identifier: Apache-2.0

// Command eastwest-node is a node of a cluster, or one part of it alone.
package main

import (
	"context"
	"os"

	"eastwest/internal/cli/nodecmd"
)

func main() {
	os.Exit(nodecmd.Main(context.Background(), os.Args, nodecmd.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
}
