// SPDX-License-Identifier: Apache-2.0

// Command eastwest-cni is the CNI plugins of eastwest, chosen by the name that it is run under.
package main

import (
	"context"
	"os"

	"eastwest/internal/cni/program"
)

// version is set by the linker.
var version = "dev"

func main() {
	os.Exit(program.Main(context.Background(), os.Args, version, os.Stdout, os.Stderr))
}
