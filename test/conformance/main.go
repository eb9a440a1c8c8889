// SPDX-License-Identifier: Apache-2.0

// Command conformance runs Kubernetes' own end-to-end specs against a fresh local cluster and prints what failed:
//
//	build (Go modules, Debian packages) ▶ eastwest up ▶ image load ▶ ginkgo ▶ report ▶ eastwest down
//
// It is run in its own folder, as root, on Debian or Ubuntu; `make conformance` does so.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
)

// network selects what a cluster's network is measured by.
const network = `\[sig-network\].*\[Conformance\]`

type options struct {
	programs, out, name, kubeconfig, focus, skip string
	nodes, processes                             int
	buildOnly, keep                              bool
}

func main() {
	var o options
	flag.StringVar(&o.programs, "bin", "../../bin", "folder of the programs that make build builds")
	flag.StringVar(&o.out, "o", "../../bin/conformance", "folder for the suite, its images and the report")
	flag.StringVar(&o.name, "name", "conformance", "name of the cluster to bring up")
	flag.StringVar(&o.kubeconfig, "kubeconfig", "", "use the cluster that is up, with the images loaded, and leave it up")
	flag.StringVar(&o.focus, "focus", network, "regular expression of the specs to run")
	flag.StringVar(&o.skip, "skip", `\[Disruptive\]|\[Serial\]`, "regular expression of the specs not to run")
	flag.IntVar(&o.nodes, "nodes", 2, "nodes of the cluster")
	flag.IntVar(&o.processes, "procs", 4, "specs that run at the same time")
	flag.BoolVar(&o.buildOnly, "build-only", false, "build the suite and its images, and run nothing")
	flag.BoolVar(&o.keep, "keep", false, "leave the cluster up")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "unknown arguments %q\n", flag.Args())
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
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
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return fmt.Errorf("create folder for the suite: %w", err)
	}
	if err := build(ctx, o.out); err != nil {
		return err
	}
	if o.buildOnly {
		return nil
	}
	if o.kubeconfig != "" {
		return specs(ctx, o)
	}
	return inCluster(ctx, o)
}

// inCluster brings a cluster up with the images in it, and down again whatever became of the specs.
func inCluster(ctx context.Context, o options) (err error) {
	o.kubeconfig = filepath.Join(o.out, "kubeconfig")
	eastwest := filepath.Join(o.programs, "eastwest")
	if !o.keep {
		defer func() {
			err = errors.Join(err, call(context.WithoutCancel(ctx), eastwest, "down", "--name", o.name))
		}()
	}
	// A run that was cut off has left its cluster.
	if err := call(ctx, eastwest, "down", "--name", o.name); err != nil {
		return err
	}
	err = call(ctx, eastwest, "up", "--name", o.name, "--nodes", strconv.Itoa(o.nodes), "--kubeconfig", o.kubeconfig)
	if err != nil {
		return err
	}
	if err := call(ctx, eastwest, "image", "load", "--name", o.name, filepath.Join(o.out, "images.tar")); err != nil {
		return err
	}
	return specs(ctx, o)
}

// specs runs what was selected and reports.
func specs(ctx context.Context, o options) error {
	report := filepath.Join(o.out, "report.json")
	if err := os.RemoveAll(report); err != nil {
		return fmt.Errorf("remove the report of last time: %w", err)
	}
	runErr := call(ctx, filepath.Join(o.out, "ginkgo"), "-procs="+strconv.Itoa(o.processes), "-no-color",
		"-focus="+o.focus, "-skip="+o.skip, "-timeout=6h", "-output-dir="+o.out, "-json-report="+filepath.Base(report),
		filepath.Join(o.out, "e2e.test"), "--", "-kubeconfig="+o.kubeconfig, "-provider=skeleton",
		"-num-nodes="+strconv.Itoa(o.nodes), "-kubectl-path="+filepath.Join(o.out, "kubectl"),
		"-kubelet-root-dir=/var/lib/eastwest/kubelet")
	summary, err := readReport(report)
	if err != nil {
		return errors.Join(runErr, err)
	}
	summary.print(os.Stdout)
	switch {
	case len(summary.failed) > 0:
		return fmt.Errorf("%d of %d specs failed", len(summary.failed), summary.ran())
	case summary.ran() == 0:
		return fmt.Errorf("no spec is selected by focus %q and skip %q", o.focus, o.skip)
	}
	return runErr
}

// call runs a program with its output on stderr: stdout is for the report.
func call(ctx context.Context, program string, args ...string) error {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("run %s %s: %w", filepath.Base(program), strings.Join(args, " "), err)
	}
	return nil
}
