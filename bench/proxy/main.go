// SPDX-License-Identifier: Apache-2.0

// Command proxy measures service proxies side by side: ours and kube-proxy, which is built from its module, each alone in a
// network namespace against the same API server in memory.
//
//	sync     from start until everything is in the kernel, then single endpoints added and removed, memory, idle time
//	compare  where packets of a pod, the node and a machine outside go, given the same random objects
//	traffic  connections and requests a second through a ClusterIP, relative to the same path without any rule
package main

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"eastwest/bench/traffic"
)

type options struct {
	peers              []peer
	sizes              []int
	endpoints, changes int
	rounds             int
	length             time.Duration
}

func main() {
	bin := flag.String("bin", "../bin", "folder of eastwest-node")
	kube := flag.String("kube-proxy", "", "kube-proxy, built from ./proxy/kubeproxy; without it only ours is measured")
	what := flag.String("what", "sync,traffic", "what to measure")
	seed := flag.Uint64("seed", 1, "of the random objects of compare")
	only := flag.String("only", "", "part of the names of the proxies to measure")
	sizes := flag.String("services", "100,1000", "how many services")
	var o options
	flag.IntVar(&o.endpoints, "endpoints", 10, "how many endpoints each")
	flag.IntVar(&o.changes, "changes", 20, "how many single changes of endpoints")
	flag.IntVar(&o.rounds, "rounds", 5, "how often each rate is measured")
	flag.DurationVar(&o.length, "length", 2*time.Second, "of each measurement of a rate")
	flag.Parse()
	for _, mode := range []string{"nftables", "iptables"} {
		o.peers = append(o.peers, peer{"eastwest " + mode, filepath.Join(*bin, "eastwest-node"), mode})
		if *kube != "" {
			o.peers = append(o.peers, peer{"kube-proxy " + mode, *kube, mode})
		}
	}
	o.peers = slices.DeleteFunc(o.peers, func(p peer) bool { return !strings.Contains(p.name, *only) })
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
		if strings.Contains(*what, "compare") {
			fail(o.compare(size, *seed))
		}
		if strings.Contains(*what, "traffic") {
			fail(o.traffic(size))
		}
	}
}

func fail(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "proxy:", err)
		os.Exit(1)
	}
}

// sync measures one proxy.
func (o options) sync(p peer, services int) error {
	l, err := newLab("sync")
	if err != nil {
		return err
	}
	defer l.remove()
	a := newAPI(services, o.endpoints, "")
	r, err := o.run(p, l, a)
	if err != nil {
		return err
	}
	defer r.stop()
	whole, work, err := r.synced()
	if err != nil {
		return err
	}
	fmt.Printf("%-20s %6d x %-3d  full sync %8.2f s of its own, %8.2f s since its start\n", p.name, services, o.endpoints, work.Seconds(), whole.Seconds())
	n, err := l.listen()
	if err != nil {
		return err
	}
	time.Sleep(3 * time.Second)
	var took []time.Duration
	for i := range o.changes {
		n.drain()
		begin := time.Now()
		a.change((i/2*37)%services, i%2 == 0)
		end, err := n.next()
		if err != nil {
			return err
		}
		took = append(took, end.Sub(begin))
		time.Sleep(1500 * time.Millisecond) // kube-proxy runs at most once a second
	}
	slices.Sort(took)
	fmt.Printf("%-20s %6d x %-3d  one endpoint: median %8.2f ms, %.2f to %.2f ms, p99 %.2f ms, %d changes\n", p.name, services, o.endpoints,
		ms(took[len(took)/2]), ms(took[0]), ms(took[len(took)-1]), ms(took[min(len(took)-1, len(took)*99/100)]), len(took))
	return o.rest(p, services, r)
}

// rest prints memory and what an idle proxy uses.
func (o options) rest(p peer, services int, r *running) error {
	before, err := r.cpu()
	if err != nil {
		return err
	}
	const idle = 5 * time.Second
	time.Sleep(idle)
	after, err := r.cpu()
	if err != nil {
		return err
	}
	rss, pss, err := r.mib()
	fmt.Printf("%-20s %6d x %-3d  resident %d MiB, proportional %d MiB; idle %.1f %% of a core\n", p.name, services, o.endpoints, rss, pss,
		100*(after-before).Seconds()/idle.Seconds())
	return err
}

func (o options) run(p peer, l *lab, a *api) (r *running, err error) {
	var server string
	err = inside(l.node, func() (err error) {
		server, _, err = a.serve() // ends with this program
		return err
	})
	if err != nil {
		return nil, err
	}
	return p.start(l, server)
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// rates are those of one path through the kernel, a number a round.
type rates struct{ connections, requests []float64 }

// traffic measures every proxy in turn, round by round, so that what else the machine does hits all alike.
func (o options) traffic(services int) error {
	peers := append([]peer{{name: "no rules"}}, o.peers...)
	all := make([]rates, len(peers))
	for range o.rounds {
		for i, p := range peers {
			if err := o.round(p, services, &all[i]); err != nil {
				return err
			}
		}
	}
	for i, p := range peers {
		fmt.Printf("%-20s %6d services  connections/s %s  requests/s %s\n", p.name, services,
			relative(all[i].connections, all[0].connections), relative(all[i].requests, all[0].requests))
	}
	return nil
}

func (o options) round(p peer, services int, out *rates) error {
	l, err := newLab("traffic")
	if err != nil {
		return err
	}
	defer l.remove()
	stop, err := traffic.Serve(traffic.Namespace(pinned+l.server), 8080, traffic.Echo)
	if err != nil {
		return err
	}
	defer stop()
	to, from := netip.MustParseAddrPort(serverIP+":8080"), traffic.Namespace(pinned+l.client)
	if p.program != "" {
		a := newAPI(services, 1, serverIP)
		r, err := o.run(p, l, a)
		if err != nil {
			return err
		}
		defer r.stop()
		if _, _, err := r.synced(); err != nil {
			return err
		}
		to = netip.MustParseAddrPort("10.96.0.1:80") // of s0
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
