// SPDX-License-Identifier: Apache-2.0

// A plugin runs for milliseconds: it asks nobody how many processors it may use.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

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
