// SPDX-License-Identifier: Apache-2.0

// Command eastwest-server is the control plane of a cluster.
package main

import (
	"context"
	"os"

	"eastwest/internal/cli/servercmd"
)

func main() {
	os.Exit(servercmd.Main(context.Background(), os.Args[1:], os.Stderr))
}
