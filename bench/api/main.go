// SPDX-License-Identifier: Apache-2.0

// Command api measures eastwest server beside the genuine control plane: etcd, kube-apiserver, kube-controller-manager and
// kube-scheduler of the same release, which `make components` builds. Both start from nothing, in turn, and do the same work
// for the same client:
//
//	start    from the start of the processes until /readyz says ok
//	memory   resident, of all processes, once nothing goes on
//	write    Services created and deleted again, by several clients at once
//	list     all of many Services, as protobuf and as JSON, with the processor time that the servers spent
//	watch    changes of one Service told to many watchers, with the processor time as well
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

type options struct {
	bin, peers                            string
	runs, writes, clients, services       int
	lists, watchers, changes, idleSeconds int
}

func main() {
	var o options
	flag.StringVar(&o.bin, "bin", "../bin", "folder of eastwest's programs")
	flag.StringVar(&o.peers, "peers", "../bin/components", "folder of etcd, kube-apiserver, kube-controller-manager and kube-scheduler")
	flag.IntVar(&o.runs, "runs", 3, "how often each control plane is started")
	flag.IntVar(&o.writes, "writes", 2000, "how many Services to create and delete")
	flag.IntVar(&o.clients, "clients", 8, "how many clients create and delete at once")
	flag.IntVar(&o.services, "services", 10000, "how many Services to list")
	flag.IntVar(&o.lists, "lists", 10, "how often to list them, in each encoding")
	flag.IntVar(&o.watchers, "watchers", 100, "how many watchers")
	flag.IntVar(&o.changes, "changes", 500, "how many changes they are told")
	flag.IntVar(&o.idleSeconds, "idle", 40, "seconds to wait before memory is looked at")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "api:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	var err error
	if o.bin, err = filepath.Abs(o.bin); err != nil {
		return err
	}
	if o.peers, err = filepath.Abs(o.peers); err != nil {
		return err
	}
	planes := []plane{{"eastwest", o.startOurs}, {"genuine", o.startGenuine}}
	results := map[string][]result{}
	for i := range o.runs {
		for _, p := range planes {
			r, err := o.measure(ctx, p)
			if err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
			fmt.Fprintf(os.Stderr, "run %d %-8s %v\n", i+1, p.name, r)
			results[p.name] = append(results[p.name], r)
		}
	}
	report(results[planes[0].name], results[planes[1].name])
	return nil
}

// plane is a control plane that can be started in a folder of its own.
type plane struct {
	name  string
	start func(dir string) (*processes, error)
}

// measure starts a control plane, measures everything and leaves nothing.
func (o options) measure(ctx context.Context, p plane) (result, error) {
	dir, err := os.MkdirTemp("", "eastwest-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	begin := time.Now()
	running, err := p.start(dir)
	if running != nil {
		defer running.stop()
	}
	if err != nil {
		return nil, err
	}
	r := result{}
	if err := running.ready(ctx); err != nil {
		return nil, err
	}
	r["start, s"] = time.Since(begin).Seconds()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(time.Duration(o.idleSeconds) * time.Second):
	}
	if r["memory, MiB"], err = running.memory(); err != nil {
		return nil, err
	}
	if err := o.writeRate(ctx, running, r); err != nil {
		return nil, fmt.Errorf("create and delete: %w", err)
	}
	if err := o.fill(ctx, running); err != nil {
		return nil, fmt.Errorf("fill: %w", err)
	}
	if err := o.listCost(ctx, running, r); err != nil {
		return nil, fmt.Errorf("list: %w", err)
	}
	if err := o.watchCost(ctx, running, r); err != nil {
		return nil, fmt.Errorf("watch: %w", err)
	}
	return r, nil
}
