// SPDX-License-Identifier: Apache-2.0

package serve_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"eastwest/internal/cni/program"
)

// plugins is the folder of the program as it is shipped: linked to start in package entry.
var plugins string

// inside is set in the process that has namespaces, and so a /run, of its own.
const inside = "EASTWEST_TEST_SERVE"

func TestMain(m *testing.M) {
	if os.Getenv(inside) == "" {
		os.Exit(again())
	}
	dir, err := prepare()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// again runs the tests in network and mount namespaces that end with them.
func again() int {
	c := exec.Command("/proc/self/exe", os.Args[1:]...)
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	c.Env = append(os.Environ(), inside+"=1")
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	err := c.Run()
	var ended *exec.ExitError
	if errors.As(err, &ended) {
		return ended.ExitCode()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "run the tests in namespaces of their own, as root:", err)
		return 1
	}
	return 0
}

func prepare() (dir string, err error) {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return "", fmt.Errorf("keep mounts to ourselves: %w", err)
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, "mode=0755"); err != nil {
		return "", fmt.Errorf("mount /run: %w", err)
	}
	if dir, err = os.MkdirTemp("", "eastwest-serve-test-"); err != nil {
		return "", err
	}
	if err := os.Chmod(dir, 0o755); err != nil { // for a caller who is not root
		return dir, err
	}
	built := filepath.Join(dir, program.Name)
	build := exec.Command("go", "build", "-ldflags", "-s -w -E eastwest/internal/cni/entry.start", "-o", built, "eastwest/cmd/eastwest-cni")
	if out, err := build.CombinedOutput(); err != nil {
		return dir, fmt.Errorf("build the plugins: %w: %s", err, out)
	}
	plugins = filepath.Join(dir, "bin")
	return dir, program.Install(plugins, built)
}
