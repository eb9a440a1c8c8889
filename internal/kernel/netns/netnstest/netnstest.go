// SPDX-License-Identifier: Apache-2.0

// Package netnstest gives tests network namespaces of their own, so that none of them touches the machine's network.
package netnstest

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"eastwest/internal/kernel/netns"
)

// RequireRoot skips the test when it may not make namespaces. With EASTWEST_REQUIRE_ROOT set, as CI does, it fails
// instead, so that kernel tests cannot be skipped by accident.
func RequireRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	if os.Getenv("EASTWEST_REQUIRE_ROOT") != "" {
		t.Fatal("this test needs root")
	}
	t.Skip("this test needs root")
}

// RequireProgram skips the test where a program is not installed, under the same condition.
func RequireProgram(t testing.TB, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err == nil {
		return
	}
	if os.Getenv("EASTWEST_REQUIRE_ROOT") != "" {
		t.Fatalf("this test needs the program %s", name)
	}
	t.Skipf("this test needs the program %s", name)
}

// RequireOwnMachine skips the test where the machine is not the tests' own: it changes what all of its namespaces share.
// `make qemu-test` runs it in a machine that ends with the tests.
func RequireOwnMachine(t testing.TB) {
	t.Helper()
	if os.Getenv("EASTWEST_OWN_MACHINE") == "" {
		t.Skip("this test changes the whole machine: make qemu-test")
	}
}

// New makes a network namespace that lives as long as the test and returns its path.
func New(t testing.TB) string {
	t.Helper()
	RequireRoot(t)
	path := filepath.Join(t.TempDir(), "netns")
	if err := netns.Create(path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := netns.Remove(path); err != nil {
			t.Error(err)
		}
	})
	return path
}

// In runs fn inside a namespace and fails the test on an error.
func In(t testing.TB, path string, fn func() error) {
	t.Helper()
	if err := netns.Do(path, fn); err != nil {
		t.Fatal(err)
	}
}
