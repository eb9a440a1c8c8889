// SPDX-License-Identifier: Apache-2.0

// Command images builds container images for the tests out of Debian packages: go run ./test/images -o DIR nginx busybox.
// It needs Debian or Ubuntu (apt-get, apt-cache, dpkg-deb) and no root, and prints the archives that it wrote.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"

	"eastwest/test/images/debimage"
)

func main() {
	dir := flag.String("o", ".", "folder for the archives; packages are cached in DIR/debs")
	flag.Usage = func() {
		fmt.Fprintf(flag.CommandLine.Output(), "usage: images [-o DIR] IMAGE…\nimages: %s\n", strings.Join(debimage.Names(), ", "))
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	for _, image := range flag.Args() {
		file, err := debimage.Build(ctx, *dir, image)
		if err != nil {
			fmt.Fprintln(os.Stderr, "error:", err)
			os.Exit(1)
		}
		fmt.Fprintln(os.Stdout, file)
	}
}
