// SPDX-License-Identifier: Apache-2.0

// Command proxy measures service proxies side by side: ours and kube-proxy, which is built from its module, each alone in a
// network namespace against the same API server in memory.
//
//	sync     from start until everything is in the kernel, then single endpoints added and removed, memory, idle time, and a
//	         start with everything in place
//	rolling  endpoints that are replaced one after the other, as by a rolling restart
//	compare  where packets of a pod, the node and a machine outside go, given the same random objects
//	traffic  connections and requests a second through a ClusterIP, relative to the same path without any rule
//	cost     processor time of a connection and of a request on the same paths, which other load of the machine changes little
package main

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"eastwest/bench/traffic"
)

type options struct {
	peers, rules       []peer
	sizes              []int
	endpoints, changes int
	rounds             int
	length             time.Duration
	replaced           int           // endpoints, by rolling
	within             time.Duration // by rolling
	across             bool
	batches            int // by cost
	undo               *undo
}

func main() {
	bin := flag.String("bin", "../bin", "folder of eastwest-node")
	kube := flag.String("kube-proxy", "", "kube-proxy, built from ./proxy/kubeproxy; without it only ours is measured")
	what := flag.String("what", "sync,traffic", "what to measure")
	seed := flag.Uint64("seed", 1, "of the random objects of compare")
	only := flag.String("only", "", "part of the names of the proxies to measure")
	sizes := flag.String("services", "100,1000", "how many services")
	o := options{undo: &undo{}}
	flag.IntVar(&o.endpoints, "endpoints", 10, "how many endpoints each")
	flag.IntVar(&o.changes, "changes", 20, "how many single changes of endpoints")
	flag.IntVar(&o.rounds, "rounds", 5, "how often each rate is measured")
	flag.DurationVar(&o.length, "length", 2*time.Second, "of each measurement of a rate")
	flag.IntVar(&o.replaced, "replaced", 10000, "how many endpoints rolling replaces")
	flag.DurationVar(&o.within, "within", 10*time.Second, "in which time rolling replaces them")
	flag.IntVar(&o.batches, "batches", 300, "how often cost measures each path")
	rules := flag.String("rules", "proxy/rules/one-rule.nft,proxy/rules/by-hand.nft", "files of rules that lead to the server by themselves: more paths for traffic and cost")
	flag.BoolVar(&o.across, "across", false, "traffic goes to a pod of another node")
	flag.Parse()
	o.undo.onSignal()
	for _, mode := range []string{"nftables", "iptables"} {
		o.peers = append(o.peers, peer{name: "eastwest " + mode, program: filepath.Join(*bin, "eastwest-node"), mode: mode})
		if *kube != "" {
			o.peers = append(o.peers, peer{name: "kube-proxy " + mode, program: *kube, mode: mode})
		}
	}
	o.peers = slices.DeleteFunc(o.peers, func(p peer) bool { return !strings.Contains(p.name, *only) })
	for file := range strings.FieldsFuncSeq(*rules, func(r rune) bool { return r == ',' }) {
		o.rules = append(o.rules, peer{name: strings.TrimSuffix(filepath.Base(file), ".nft"), rules: file})
	}
	for text := range strings.SplitSeq(*sizes, ",") {
		n, err := strconv.Atoi(text)
		if err != nil {
			fail(fmt.Errorf("-services: %w", err))
		}
		o.sizes = append(o.sizes, n)
	}
	for _, size := range o.sizes {
		if strings.Contains(*what, "sync") {
			for _, p := range o.peers {
				fail(o.sync(p, size))
			}
		}
		if strings.Contains(*what, "rolling") {
			for _, p := range o.peers {
				fail(o.rolling(p, size))
			}
		}
		if strings.Contains(*what, "compare") {
			fail(o.compare(size, *seed))
		}
		if strings.Contains(*what, "traffic") {
			fail(o.traffic(size))
		}
		if strings.Contains(*what, "cost") {
			fail(o.cost(size))
		}
	}
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "proxy:", err)
		os.Exit(1)
	}
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// rates are those of one path through the kernel, a number a round.
type rates struct{ connections, requests []float64 }

// traffic measures every proxy in turn, round by round, so that what else the machine does hits all alike.
func (o options) traffic(services int) error {
	peers := o.paths()
	all := make([]rates, len(peers))
	for range o.rounds {
		for i, p := range peers {
			if err := o.round(p, services, &all[i]); err != nil {
				return err
			}
		}
	}
	where := "one node"
	if o.across {
		where = "two nodes"
	}
	for i, p := range peers {
		fmt.Printf("%-20s %6d services, %s  connections/s %s  requests/s %s\n", p.name, services, where,
			relative(all[i].connections, all[0].connections), relative(all[i].requests, all[0].requests))
	}
	return nil
}

func (o options) round(p peer, services int, out *rates) error {
	l, err := newLab("traffic")
	if err != nil {
		return err
	}
	defer o.undo.later(l.remove)()
	if o.across {
		if err := l.separate(); err != nil {
			return err
		}
	}
	stop, err := traffic.Serve(traffic.Namespace(pinned+l.server), 8080, traffic.Echo)
	if err != nil {
		return err
	}
	defer stop()
	from := traffic.Namespace(pinned + l.client)
	r, to, err := o.path(p, l, services)
	if err != nil {
		return err
	}
	if r != nil {
		defer o.undo.later(r.stop)()
	}
	rate, err := traffic.Connections(from, to, o.length)
	if err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	out.connections = append(out.connections, rate)
	rate, err = traffic.Requests(from, to, o.length)
	out.requests = append(out.requests, rate)
	return err
}

// paths are all that lead to a server; the first is what the others are compared with.
func (o options) paths() []peer { return slices.Concat([]peer{{name: "no rules"}}, o.peers, o.rules) }

// path makes the way to the server of a lab, and returns where it begins and the proxy that keeps it.
func (o options) path(p peer, l *lab, services int) (*running, netip.AddrPort, error) {
	direct, service := netip.MustParseAddrPort(serverIP+":8080"), netip.MustParseAddrPort("10.96.0.1:80") // of s0
	if p.rules != "" {
		out, err := exec.Command("ip", "netns", "exec", l.node, "nft", "-f", p.rules).CombinedOutput()
		if err != nil {
			err = fmt.Errorf("load %s: %w: %s", p.rules, err, out)
		}
		return nil, service, err
	}
	if p.program == "" {
		return nil, direct, nil
	}
	r, err := o.run(p, l, newAPI(services, 1, serverIP))
	if err != nil {
		return nil, service, err
	}
	if _, _, err := r.synced(); err != nil {
		r.stop()
		return nil, service, err
	}
	return r, service, nil
}

// relative prints the median rate, and the median and spread of the ratios to the path without rules, round by round.
func relative(have, bare []float64) string {
	ratios := make([]float64, len(have))
	for i := range have {
		ratios[i] = have[i] / bare[i]
	}
	slices.Sort(ratios)
	sorted := slices.Sorted(slices.Values(have))
	return fmt.Sprintf("%7.0f = %.2f (%.2f to %.2f)", sorted[len(sorted)/2], ratios[len(ratios)/2], ratios[0], ratios[len(ratios)-1])
}
