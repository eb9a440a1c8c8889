// SPDX-License-Identifier: Apache-2.0

// Command eastwest is the command line, the control plane of a cluster, and kubectl.
package main

import (
	"context"
	"os"

	"eastwest/internal/cli"
)

func main() {
	os.Exit(cli.Main(context.Background(), os.Args[1:], cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
}
