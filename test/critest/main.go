// SPDX-License-Identifier: Apache-2.0

// Command critest runs the CRI validation suite of cri-tools against `eastwest cri` and prints what failed:
//
//	build (Go modules, Debian packages) ▶ own namespaces ▶ registry in memory ▶ eastwest cri ▶ suite ▶ report
//
// It is run in its own folder, as root, on Debian or Ubuntu; `make critest` does so.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

type options struct {
	programs, out, focus, skip string
	inside                     bool
}

func main() {
	var o options
	flag.StringVar(&o.programs, "bin", "../../bin", "folder of the programs that make build builds")
	flag.StringVar(&o.out, "o", "../../bin/critest", "folder for the suite, its images, the runtime's log and the report")
	flag.StringVar(&o.focus, "focus", "", "regular expression of the specs to run (default: all)")
	flag.StringVar(&o.skip, "skip", "", "regular expression of further specs not to run")
	flag.BoolVar(&o.inside, "inside", false, "run here, in namespaces that are made already")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "unknown arguments %q\n", flag.Args())
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	for _, folder := range []*string{&o.programs, &o.out} {
		path, err := filepath.Abs(*folder)
		if err != nil {
			return fmt.Errorf("find folder %s: %w", *folder, err)
		}
		*folder = path
	}
	if o.inside {
		return validate(ctx, o)
	}
	if err := build(ctx, o.out); err != nil {
		return err
	}
	return reexec(ctx, o)
}

// build makes the suite and what its images are made of.
func build(ctx context.Context, out string) error {
	if err := os.MkdirAll(out, 0o755); err != nil {
		return fmt.Errorf("create folder for the suite: %w", err)
	}
	fmt.Fprintln(os.Stderr, "building the suite")
	if err := call(ctx, ".", "go", "test", "-c", "-vet=off", "-o", filepath.Join(out, "critest.test"), "./suite"); err != nil {
		return err
	}
	if err := call(ctx, ".", "go", "build", "-o", filepath.Join(out, "nonewprivs"), "./nonewprivs"); err != nil {
		return err
	}
	return call(ctx, "../..", "go", "run", "./test/images", "-o", out, "busybox-shared", "nginx")
}

// reexec runs this program again in a network and a mount namespace: specs take ports of the host and mount on it.
func reexec(ctx context.Context, o options) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	cmd := exec.CommandContext(ctx, self, "-inside", "-bin", o.programs, "-o", o.out, "-focus", o.focus, "-skip", o.skip)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("run the suite in namespaces of its own (needs root): %w", err)
	}
	return nil
}

// call runs a program with its output on stderr: stdout is for the report.
func call(ctx context.Context, dir, program string, args ...string) error {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED=0")
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("run %s %s: %w", filepath.Base(program), strings.Join(args, " "), err)
	}
	return nil
}
