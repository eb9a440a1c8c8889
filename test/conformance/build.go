// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const agnhostPackage = "k8s.io/kubernetes/test/images/agnhost"

// build makes the images that the specs name, the programs that run them, and last, because it takes longest, the suite.
// Go's cache makes the second time short.
func build(ctx context.Context, out string) error {
	flags, err := linkFlags(ctx)
	if err != nil {
		return err
	}
	// Images of one program have no C library.
	if err := os.Setenv("CGO_ENABLED", "0"); err != nil {
		return err
	}
	for _, program := range programs() {
		fmt.Fprintln(os.Stderr, "building", program.name)
		args := []string{"build", flags, "-o", filepath.Join(out, program.name), program.source}
		if err := call(ctx, "go", args...); err != nil {
			return err
		}
	}
	if err := buildImagesOnce(ctx, out); err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "building e2e.test")
	return call(ctx, "go", "test", "-c", "-vet=off", flags, "-o", filepath.Join(out, "e2e.test"), "./suite")
}

// programs lists what images and runs need beside the suite.
func programs() []goBuild {
	return []goBuild{
		{"agnhost", agnhostPackage}, // runs in an image that has Debian's C library
		{"sample-apiserver", "k8s.io/sample-apiserver"},
		{"etcd", "go.etcd.io/etcd/server/v3"},
		{"regression-issue-74839", "k8s.io/kubernetes/test/images/regression-issue-74839"},
		{"coredns", "./coredns"},
		{"nnp", "k8s.io/kubernetes/test/images/nonewprivs"},
		{"ginkgo", "github.com/onsi/ginkgo/v2/ginkgo"},
		{"kubectl", "./kubectl"},
	}
}

// linkFlags give programs Kubernetes' version: specs ask what it is, and skip by it.
func linkFlags(ctx context.Context) (string, error) {
	version, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Version}}", "k8s.io/kubernetes").Output()
	if err != nil {
		return "", fmt.Errorf("find the version of Kubernetes: %w", err)
	}
	return "-ldflags=-s -w -X k8s.io/component-base/version.gitVersion=" + strings.TrimSpace(string(version)), nil
}

// goBuild is a program and the package that it is built from.
type goBuild struct{ name, source string }
