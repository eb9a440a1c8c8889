// SPDX-License-Identifier: Apache-2.0

// Command dns serves the same names from eastwest, CoreDNS and Knot on the loopback interface, asks each with dnsperf in
// turn, and prints medians of queries per second, latency, and resident memory.
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
	"regexp"
	"runtime"
	"syscall"
	"time"
)

type options struct {
	node, coredns       string // programs
	services, endpoints int
	sizes               []size
	runs                int
	length              time.Duration
	dir                 string
	only                *regexp.Regexp // measurements by name
}

func (o *options) wanted(measurement string) bool { return o.only.MatchString(measurement) }

func main() {
	runtime.LockOSThread() // servers end with the thread that started them
	var o options
	flag.StringVar(&o.node, "node", "../../bin/eastwest-node", "program that serves `eastwest dns`")
	flag.StringVar(&o.coredns, "coredns", "", "CoreDNS program; built from ./coredns where it is empty")
	sizes := flag.String("sizes", "1000x10", "clusters to measure: services x endpoints of each, several with commas between")
	flag.IntVar(&o.runs, "runs", 5, "how often each is asked")
	flag.DurationVar(&o.length, "length", 3*time.Second, "how long each time")
	only := flag.String("only", "", "measure only what has a name that this regular expression matches")
	flag.Parse()
	var err error
	if o.only, err = regexp.Compile(*only); err != nil {
		fmt.Fprintln(os.Stderr, "dns: -only:", err)
		os.Exit(2)
	}
	if o.sizes, err = parseSizes(*sizes); err != nil {
		fmt.Fprintln(os.Stderr, "dns: -sizes:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := o.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "dns:", err)
		os.Exit(1)
	}
}

func (o *options) run(ctx context.Context) (err error) {
	if o.dir, err = os.MkdirTemp("", "eastwest-bench-dns-"); err != nil {
		return err
	}
	defer os.RemoveAll(o.dir)
	if o.coredns == "" {
		o.coredns = filepath.Join(o.dir, "coredns")
		if out, err := exec.Command("go", "build", "-o", o.coredns, "./coredns").CombinedOutput(); err != nil {
			return fmt.Errorf("build CoreDNS: %w\n%s", err, out)
		}
	}
	all := &summaries{}
	for _, size := range o.sizes {
		if o.only.String() == inTurn {
			break
		}
		o.services, o.endpoints = size.services, size.endpoints
		if err := o.runSize(ctx, all); err != nil {
			return err
		}
	}
	all.print(o.sizes)
	return o.compareSizes(ctx)
}

// runSize measures one cluster.
func (o *options) runSize(ctx context.Context, all *summaries) error {
	fmt.Printf("== %d services of %d endpoints\n", o.services, o.endpoints)
	api, err := serveAPI(o.services, o.endpoints)
	if err != nil {
		return err
	}
	defer api.Close()
	var starts []map[string]time.Duration
	for range o.runs - 1 {
		servers, err := o.start(api.URL)
		starts = append(starts, readiness(servers))
		if err := errors.Join(err, stopAll(servers)); err != nil {
			return err
		}
	}
	servers, err := o.start(api.URL)
	if err == nil {
		err = o.measureAll(ctx, api, servers, append(starts, readiness(servers)), all)
	}
	return errors.Join(err, stopAll(servers))
}

func (o *options) measureAll(ctx context.Context, api *api, servers []*server, starts []map[string]time.Duration, all *summaries) error {
	for _, w := range workloads {
		if !o.wanted(w.name) {
			continue
		}
		if err := o.measure(ctx, w, servers, all); err != nil {
			return err
		}
	}
	if o.endpoints > 0 {
		if err := o.printTimes(api, servers); err != nil {
			return err
		}
	}
	return printMemory(servers, starts, all)
}

// measure asks every server in turn, again and again, so that what else the machine does hits all of them alike.
func (o *options) measure(ctx context.Context, w workload, servers []*server, all *summaries) error {
	file := filepath.Join(o.dir, "queries")
	if err := os.WriteFile(file, []byte(w.queries(o.services)), 0o600); err != nil {
		return err
	}
	results := map[*server][]result{}
	for run := range o.runs + 1 {
		for _, s := range servers {
			r, err := ask(ctx, s, w, file, o.length)
			if err != nil {
				return err
			}
			if run > 0 { // the first one warms up
				results[s] = append(results[s], r)
			}
		}
	}
	fmt.Printf("%s, %d services\n", w.name, o.services)
	for _, s := range servers {
		fmt.Printf("  %-9s %s\n", s.name, summary(results[s], results[servers[0]]))
		all.add(w.name+", q/s", s.name, middleRate(results[s]))
	}
	return nil
}
