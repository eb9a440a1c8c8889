// SPDX-License-Identifier: Apache-2.0

// Command paths measures the way from a pod to one on another host, plain and inside VXLAN: bytes of one connection,
// connections and requests a second. Side by side in one run: a path that is set up by hand with ip(8), the same with pods
// attached by the reference plugin ptp and by ours, and that of a local cluster, with and without its rules. Rules track connections, as
// those of any proxy do, on both hosts; what that costs by itself is shown by the path by hand with one rule that needs it.
//
//	go run ./paths -bin ../bin
package main

import (
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"eastwest/bench/reference"
	"eastwest/bench/traffic"
)

// path is a client's and a server's namespace, and the server's address.
type path struct {
	name           string
	client, server traffic.Namespace
	to             netip.Addr
	remove         func() error
}

type options struct {
	bin    string
	rounds int
	length time.Duration
	dir    string
}

func main() {
	var o options
	flag.StringVar(&o.bin, "bin", "../bin", "folder of the programs")
	flag.IntVar(&o.rounds, "rounds", 9, "how often each path is measured")
	flag.DurationVar(&o.length, "length", 2*time.Second, "how long each time")
	overlays := flag.String("overlays", "none,vxlan", "what is between the hosts")
	flag.Parse()
	for overlay := range strings.SplitSeq(*overlays, ",") {
		if err := o.run(overlay); err != nil {
			fmt.Fprintln(os.Stderr, "paths:", err)
			os.Exit(1)
		}
	}
}

func (o options) run(overlay string) (err error) {
	if o.dir, err = os.MkdirTemp("", "eastwest-bench-paths-"); err != nil {
		return err
	}
	defer os.RemoveAll(o.dir)
	plugins := filepath.Join(o.dir, "reference")
	if err := reference.Build(plugins, "main/ptp", "ipam/host-local"); err != nil {
		return err
	}
	ours := filepath.Join(o.dir, "ours")
	if out, err := exec.Command(filepath.Join(o.bin, "eastwest-cni"), "install", "--dir", ours).CombinedOutput(); err != nil {
		return fmt.Errorf("install the plugins: %w: %s", err, out)
	}
	var paths []path
	defer func() {
		for _, p := range paths {
			err = errors.Join(err, p.remove())
		}
	}()
	for _, set := range []func() (path, error){
		func() (path, error) { return byHand("by hand", "h", overlay, ipAttacher{}) },
		func() (path, error) {
			return byHand("reference ptp", "r", overlay, cniAttacher{plugins: plugins, dir: o.dir})
		},
		func() (path, error) {
			return byHand("eastwest ptp", "e", overlay, cniAttacher{plugins: ours, dir: o.dir})
		},
		func() (path, error) { return o.network("eastwest, network alone", "pathsbare", overlay) },
		func() (path, error) { return tracked("by hand, tracked", "t", overlay) },
		func() (path, error) { return o.cluster("eastwest", "paths", overlay) },
	} {
		p, err := set()
		if p.remove != nil {
			paths = append(paths, p)
		}
		if err != nil {
			return err
		}
	}
	return o.measure(overlay, paths)
}

// measurements are what a path is asked.
var measurements = []struct {
	name, unit string
	scale      float64
	of         func(p path, length time.Duration) (float64, error)
}{
	{"one connection", "Gbit/s", 8e-9, func(p path, length time.Duration) (float64, error) {
		return traffic.Bulk(p.client, p.server, p.to, length)
	}},
	{"connections", "/s", 1, func(p path, length time.Duration) (float64, error) {
		return traffic.Connections(p.client, netip.AddrPortFrom(p.to, echoPort), length)
	}},
	{"requests", "/s", 1, func(p path, length time.Duration) (float64, error) {
		return traffic.Requests(p.client, netip.AddrPortFrom(p.to, echoPort), length)
	}},
}

const echoPort = 18080

// measure takes the paths in turn, round by round, so that what else the machine does hits all alike. Every second round
// goes backwards.
func (o options) measure(overlay string, paths []path) error {
	rates := make([][][]float64, len(measurements))
	for m := range measurements {
		rates[m] = make([][]float64, len(paths))
	}
	for _, p := range paths {
		stop, err := traffic.Serve(p.server, echoPort, traffic.Echo)
		if err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		defer stop()
	}
	for round := range o.rounds {
		for m, what := range measurements {
			for i := range paths {
				if round%2 == 1 {
					i = len(paths) - 1 - i
				}
				rate, err := what.of(paths[i], o.length)
				if err != nil {
					return fmt.Errorf("%s: %s: %w", paths[i].name, what.name, err)
				}
				rates[m][i] = append(rates[m][i], rate)
			}
		}
	}
	for m, what := range measurements {
		fmt.Printf("%s, overlay %s\n", what.name, overlay)
		for i, p := range paths {
			fmt.Printf("  %-24s %9.1f %-6s %s of the path by hand\n", p.name, what.scale*middle(rates[m][i]), what.unit, relative(rates[m][i], rates[m][0]))
		}
	}
	return nil
}

func middle(all []float64) float64 {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[len(sorted)/2]
}

// relative is the median of the ratios, round by round, with the least and the greatest.
func relative(have, bare []float64) string {
	ratios := make([]float64, len(have))
	for i := range have {
		ratios[i] = have[i] / bare[i]
	}
	slices.Sort(ratios)
	return fmt.Sprintf("%.3f (%.3f to %.3f)", ratios[len(ratios)/2], ratios[0], ratios[len(ratios)-1])
}
