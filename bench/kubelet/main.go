// SPDX-License-Identifier: Apache-2.0

// Command kubelet measures how pods start, side by side: our kubelet on the embedded runtime, our kubelet on containerd, and Kubernetes'
// own kubelet on containerd with the reference CNI plugins, each on two workers of a local cluster with our server. Then it measures what
// only ours is asked for: many pods on many nodes, agents at rest, and an update of a Deployment under traffic.
//
//	go run ./kubelet -bin ../bin
//	go run ./kubelet -bin ../bin -steps start -sides eastwest,genuine -pods 20
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// options say what to measure.
type options struct {
	bin, name, repository string
	steps, sides          map[string]bool
	pods, burst           int // one a second, and at once
	many, nodes           int
	rest                  time.Duration
	rate                  int // connections a second
}

// side is a kubelet with its runtime.
type side struct {
	name, title string
	up          []string // flags of eastwest up
	genuine     bool
}

var all = []side{
	{name: "eastwest", title: "our kubelet, embedded runtime"},
	{name: "containerd", title: "our kubelet, containerd", up: []string{"--cri", "containerd"}},
	{name: "genuine", title: "kubelet 1.36, containerd, reference plugins", up: []string{"--cri", "containerd"}, genuine: true},
}

func main() {
	var o options
	steps := flag.String("steps", "start,many,rolling", "what to measure")
	sides := flag.String("sides", "eastwest,containerd,genuine", "on what pods are started")
	flag.StringVar(&o.bin, "bin", "../bin", "folder of the programs")
	flag.StringVar(&o.name, "name", "bench", "name of the local clusters that are made")
	flag.IntVar(&o.pods, "pods", 60, "how many pods to create one a second")
	flag.IntVar(&o.burst, "burst", 60, "how many pods to create at once")
	flag.IntVar(&o.many, "many", 500, "how many pods to create on -nodes nodes")
	flag.IntVar(&o.nodes, "nodes", 10, "how many nodes for -many pods")
	flag.DurationVar(&o.rest, "rest", 60*time.Second, "for how long agents are watched at rest")
	flag.IntVar(&o.rate, "rate", 1000, "new connections a second during the update")
	flag.Parse()
	o.steps, o.sides = set(*steps), set(*sides)
	if err := run(context.Background(), o); err != nil {
		fmt.Fprintln(os.Stderr, "kubelet:", err)
		os.Exit(1)
	}
}

func set(list string) map[string]bool {
	out := map[string]bool{}
	for _, word := range strings.Split(list, ",") {
		out[word] = true
	}
	return out
}

func run(ctx context.Context, o options) error {
	var err error
	if o.bin, err = filepath.Abs(o.bin); err != nil {
		return err
	}
	o.repository = filepath.Dir(o.bin)
	if err := prepare(o); err != nil {
		return err
	}
	if o.steps["start"] {
		fmt.Printf("%-46s %12s %12s %14s\n", "pod created to Ready", "1/s p50", "1/s p99", fmt.Sprintf("%d at once", o.burst))
		for _, s := range all {
			if o.sides[s.name] {
				if err := with(o, 3, s.up, func(c *cluster) error { return c.start(ctx, s) }); err != nil {
					return fmt.Errorf("%s: %w", s.title, err)
				}
			}
		}
	}
	if o.steps["many"] {
		if err := with(o, o.nodes, nil, func(c *cluster) error { return c.crowd(ctx) }); err != nil {
			return fmt.Errorf("many pods: %w", err)
		}
	}
	if o.steps["rolling"] {
		if err := with(o, 3, nil, func(c *cluster) error { return c.roll(ctx) }); err != nil {
			return fmt.Errorf("rolling update: %w", err)
		}
	}
	return nil
}

// with runs do on a cluster, which goes afterwards, whatever comes of it.
func with(o options, nodes int, flags []string, do func(*cluster) error) error {
	dir, err := os.MkdirTemp("", "eastwest-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	c, err := up(o, dir, nodes, flags)
	if err == nil {
		err = do(c)
	}
	return errors.Join(err, command(o, "down", "--name", o.name))
}
