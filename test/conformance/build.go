// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

const agnhostPackage = "k8s.io/kubernetes/test/images/agnhost"

// build makes the images that the specs name, the programs that run them, and last, because it takes longest, the suite.
// Go's cache makes the second time short.
func build(ctx context.Context, out string) error {
	programs := []goBuild{
		{"agnhost", agnhostPackage}, // runs in an image that has Debian's C library
		{"regression-issue-74839", "k8s.io/kubernetes/test/images/regression-issue-74839"},
		{"ginkgo", "github.com/onsi/ginkgo/v2/ginkgo"},
		{"kubectl", "./kubectl"},
	}
	for _, program := range programs {
		fmt.Fprintln(os.Stderr, "building", program.name)
		args := []string{"build", "-ldflags=-s -w", "-o", filepath.Join(out, program.name), program.source}
		if err := call(ctx, "go", args...); err != nil {
			return err
		}
	}
	archive := filepath.Join(out, "images.tar")
	if _, err := os.Stat(archive); err != nil { // remove it to have it built anew
		fmt.Fprintln(os.Stderr, "building images.tar")
		if err := buildImages(ctx, out, archive); err != nil {
			return err
		}
	}
	fmt.Fprintln(os.Stderr, "building e2e.test")
	return call(ctx, "go", "test", "-c", "-vet=off", "-ldflags=-s -w", "-o", filepath.Join(out, "e2e.test"), "./suite")
}

// goBuild is a program and the package that it is built from.
type goBuild struct{ name, source string }
