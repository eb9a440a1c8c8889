// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"eastwest/internal/dataplane"
	"eastwest/internal/dataplane/connections"
	"eastwest/internal/dataplane/handover"
	"eastwest/internal/dataplane/healthcheck"
	"eastwest/internal/dataplane/quarantine"
	"eastwest/internal/dataplane/services/iptables"
	"eastwest/internal/dataplane/services/ipvs"
	loopbackaddrs "eastwest/internal/dataplane/services/loopback"
	"eastwest/internal/dataplane/services/nftables"
	"eastwest/internal/dataplane/takenports"
	"eastwest/internal/kernel/conntrack"
	ipt "eastwest/internal/kernel/iptables"
	ipvskernel "eastwest/internal/kernel/ipvs"
	"eastwest/internal/kernel/loopback"
	"eastwest/internal/kernel/netns"
	"eastwest/internal/kernel/nft"
	"eastwest/internal/kernel/socketowner"
	"eastwest/internal/kubelet/events"
	"eastwest/internal/reconcile"
	"eastwest/internal/snapshot"
	"eastwest/internal/table"
)

// Backends names the services backends, the default first.
func Backends() []string { return []string{"nftables", "iptables", backendIPVS} }

const backendIPVS = "ipvs"

// CheckBackend says what is wrong with the name of a services backend.
func CheckBackend(name string) error {
	if slices.Contains(Backends(), name) {
		return nil
	}
	return fmt.Errorf("--backend %s: use one of %s", name, strings.Join(Backends(), ", "))
}

// CheckKernel says what this kernel lacks for a services backend.
func CheckKernel(backend string) error {
	if backend != backendIPVS {
		return nil
	}
	if err := ipvskernel.Check(); err != nil {
		return fmt.Errorf("--backend %s: %w", backendIPVS, err)
	}
	return nil
}

// IPVS is what the IPVS backend alone has.
type IPVS struct {
	Scheduler string // one of those of Schedulers; empty is the first
	Settings  ipvskernel.Settings
}

// Schedulers names the schedulers of IPVS, the default first.
func Schedulers() []string { return ipvskernel.Schedulers() }

// CheckScheduler says what is wrong with the name of a scheduler.
func CheckScheduler(name string) error {
	if ipvskernel.Known(name) {
		return nil
	}
	return fmt.Errorf("--ipvs-scheduler %s: use one of %s", name, strings.Join(Schedulers(), ", "))
}

// DefaultIPVS has IPVS remember an idle connection as long as connection tracking does: a connection that one of the two
// has forgotten is broken.
func DefaultIPVS() IPVS {
	return IPVS{Scheduler: Schedulers()[0], Settings: ipvskernel.Settings{TCP: DefaultTracking().TCPEstablished}}
}

// carrier is a services backend.
type carrier interface {
	dataplane.Dataplane[table.Service]
	quarantine.Prober
}

// servicesNode is what services backends know of the node and the cluster.
func (c NetworkConfig) servicesNode() dataplane.Node {
	local := c.Local
	if !local.Known() && !c.NoLocal {
		local.CIDRs = c.ClusterCIDRs
	}
	ranges := c.ranges
	if ranges == nil { // no network follows them
		ranges = dataplane.NewRanges(c.ServiceCIDRs...)
	}
	return dataplane.Node{Local: local, ServiceCIDRs: ranges, NodePortAddresses: c.NodePortAddresses}
}

// newBackend makes the services dataplane of a name.
func newBackend(name string, tables *nft.Conn, chains *ipt.Conn, config NetworkConfig) (carrier, error) {
	node := config.servicesNode()
	switch name {
	case "", "nftables":
		return nftables.New(nftables.Config{Node: node, Kernel: tables, Log: config.Log})
	case "iptables":
		return iptables.New(iptables.Config{Node: node, Kernel: chains, Log: config.Log, Rules: config.rules()})
	case backendIPVS:
		return ipvs.New(ipvs.Config{
			Node: node, Servers: ipvskernel.New(config.Netns), Device: ipvskernel.NewDevice(config.Netns), Rules: tables,
			Scheduler: config.IPVS.Scheduler, Settings: config.IPVS.Settings, Log: config.Log,
		})
	}
	return nil, fmt.Errorf("there is no services backend %q: use one of %v", name, Backends())
}

// rules is told of iptables rules; nil when nobody counts.
func (c NetworkConfig) rules() func(family ipt.Family, table string, total, written int) {
	if c.Metrics == nil {
		return nil
	}
	return func(family ipt.Family, table string, total, written int) {
		c.Metrics.Rules(string(family), table, total, written)
	}
}

// addServices adds the backend, with connections that follow it, and what else serves Services.
func (n *Network) addServices(tables *nft.Conn) error {
	if err := CheckKernel(n.config.Backend); err != nil {
		return err
	}
	chains := ipt.New(n.config.Netns)
	carrier, err := newBackend(n.config.Backend, tables, chains, n.config)
	if err != nil {
		return err
	}
	carrier, following := n.handOver(carrier, tables, chains)
	backend := dataplane.Dataplane[table.Service](carrier)
	clearing := connections.Config{Node: n.config.servicesNode(), Kernel: conntrack.New(n.config.Netns)}
	if n.config.Metrics != nil {
		clearing.Observe = n.config.Metrics.Connections
	}
	also := connections.StreamsConfig{Config: clearing, Listed: n.listed, Grace: streamsGrace, Log: n.config.Log}
	also.Elsewhere, _ = carrier.(connections.Forgetter)
	n.streams = connections.NewStreams(also)
	clearing.Applied = n.streams.Offer
	backend = connections.After(backend, clearing)
	if n.config.Metrics != nil {
		backend = n.config.Metrics.Observe(backend)
	}
	n.events = events.New(n.config.Client, eventSource, n.config.NodeName, n.config.Log)
	kept := quarantine.Around(backend, quarantine.Config{Prober: carrier, Report: n.refused})
	if n.config.Metrics != nil {
		n.config.Metrics.KeptOut(kept.Out)
	}
	n.keptOut = kept.Out
	loop := reconcile.NewLoop(reconcile.Config{Name: "services", Pace: pace, Resync: resyncOf(n.config.Backend), Log: n.config.Log}, dataplane.Dataplane[table.Service](kept))
	n.services = append(n.services, loop)
	n.mend = func(ctx context.Context) error { return n.watchKernel(ctx, tables, chains, following, loop) }
	n.checks = healthcheck.New(healthcheck.Config{
		Listen: n.listenAtNodePort, Healthy: func() bool { return n.Progress().Healthy() }, Failed: n.uncheckable, Log: n.config.Log,
	})
	n.checking = append(n.checking, newLoop(n, "health checks", n.checks), newLoop(n, "taken ports", takenports.New(takenports.Config{
		Listening: n.listening, Report: n.taken,
	})))
	if n.config.DNSService != "" {
		n.services = append(n.services, newLoop(n, "local addresses", loopbackaddrs.New(loopbackaddrs.Config{
			Kernel: loopback.New(n.config.Netns), ServiceCIDRs: n.config.ranges,
		})))
	}
	return nil
}

// streamsGrace is how long no slice lists an endpoint before its streams end: longer than it takes a controller to move one from
// slice to slice, and much shorter than clients wait.
const streamsGrace = 5 * time.Second

// resyncOf returns how often everything is compared. The kernel tells of every change that another program makes of nftables, and
// reading 100,000 elements back takes a second of a processor.
func resyncOf(backend string) time.Duration {
	if backend == Backends()[0] || backend == "" {
		return 30 * time.Minute
	}
	return 5 * time.Minute
}

// watchKernel has everything compared when another program changed what services wrote. following is what knows that; nil where nothing does.
func (n *Network) watchKernel(ctx context.Context, tables *nft.Conn, chains *ipt.Conn, following *handover.Backend, loop *reconcile.Loop[table.Service]) error {
	again := func() {
		n.config.Log.Info("another program changed the rules of services: compare everything")
		loop.Resync()
	}
	if n.config.Backend == Backends()[0] {
		return following.Run(ctx, func(bool) { again() })
	}
	watching, ctx := errgroup.WithContext(ctx)
	if following != nil {
		watching.Go(func() error {
			return following.Run(ctx, func(heard bool) {
				if heard { // news of 300,000 rules of our own get lost, too, and reading them all takes seconds; whether the tables are there is looked at below
					again()
				}
			})
		})
	}
	watching.Go(func() error {
		select { // what this program writes at first is no reason to look again
		case <-loop.Ready():
		case <-ctx.Done():
			return ctx.Err()
		}
		if n.config.Backend == backendIPVS {
			return n.watchIPVS(ctx, tables, again)
		}
		return chains.Watch(ctx, iptables.Canaries(), again)
	})
	return watching.Wait()
}

// watchIPVS looks at rules, virtual servers and the node's own addresses, each of which serves node ports.
func (n *Network) watchIPVS(ctx context.Context, tables *nft.Conn, again func()) error {
	watching, ctx := errgroup.WithContext(ctx)
	watching.Go(func() error { return tables.Watch(ctx, ipvs.TableName, again) })
	watching.Go(func() error { return ipvskernel.New(n.config.Netns).Watch(ctx, ipvs.Canary, again) })
	watching.Go(func() error { return ipvskernel.NewDevice(n.config.Netns).Watch(ctx, again) })
	return watching.Wait()
}

// listening returns the ports at which processes of this node listen.
func (n *Network) listening(network string) (ports map[uint16]bool, err error) {
	err = inNetns(n.config.Netns, func() error {
		ports = socketowner.Listening(network)
		return nil
	})
	return ports, err
}

// check serves health check ports, and looks for node ports that others have, until ctx ends. They are no part of readiness:
// another program may have one of them.
func (n *Network) check(ctx context.Context) error {
	defer func() {
		if err := n.checks.Remove(context.WithoutCancel(ctx)); err != nil {
			n.config.Log.Warn("close health check ports", "err", err)
		}
	}()
	checking, ctx := errgroup.WithContext(ctx)
	for _, loop := range n.checking {
		checking.Go(func() error { return loop.Run(ctx) })
	}
	return checking.Wait()
}

// removeOthers takes away what other backends than this network's left, once this one is in place.
func (n *Network) removeOthers(ctx context.Context) {
	select {
	case <-n.services[0].Ready():
	case <-ctx.Done():
		return
	}
	debug.FreeOSMemory() // the first lists and the first sync are the most that a proxy ever holds
	for _, name := range Backends() {
		if name == n.config.Backend {
			continue
		}
		if err := removeBackend(ctx, name, n.config); err != nil {
			n.config.Log.Warn("clean up after another backend", "backend", name, "err", err)
		}
	}
}

func removeBackend(ctx context.Context, name string, config NetworkConfig) error {
	tables := nft.New(config.Netns)
	if name == Backends()[0] && !hasAny(tables, nftables.TableName) {
		return nil
	}
	backend, err := newBackend(name, tables, ipt.New(config.Netns), config)
	if err != nil {
		return err
	}
	return backend.Remove(ctx)
}

// hasAny reports whether a table may be there in one of the families: beside many rules of iptables nft takes a minute to delete one,
// there or not.
func hasAny(tables *nft.Conn, name string) bool {
	for _, family := range []nft.Family{nft.IPv4, nft.IPv6} {
		if there, err := tables.Has(family, name); there || err != nil {
			return true
		}
	}
	return false
}

func inNetns(path string, fn func() error) error {
	if path == "" {
		return fn()
	}
	return netns.Do(path, fn)
}

// look remembers what health checks want to know of the node.
func (n *Network) look(now snapshot.Snapshot) {
	own, ok := now.Nodes.Get(n.config.NodeName)
	n.mu.Lock()
	n.eligible = ok && !own.Leaving
	n.mu.Unlock()
	if ok && n.config.Own != nil {
		n.config.Own(own)
	}
}

// onlyNode returns the Node that a part alone watches; routes need all, and names have to tell nodes from pods.
func onlyNode(config NetworkConfig) string {
	if config.NoRoutes && config.Names == nil {
		return config.NodeName
	}
	return ""
}

// Progress is how far the services dataplane has come.
type Progress struct {
	Applied  time.Time // when everything known was applied last; zero before the first time
	Waiting  time.Time // since when a change waits; zero when none does
	Eligible bool      // load balancers may send to this node: it exists and is not leaving
	Refused  []string  // Services that the kernel refuses, which are not served
}

// healthTimeout is how long a change may wait before a proxy counts as stuck, as kube-proxy has it.
const healthTimeout = time.Minute

// Healthy reports whether changes reach the kernel.
func (p Progress) Healthy() bool { return p.Waiting.IsZero() || time.Since(p.Waiting) < healthTimeout }

// Progress returns the progress of the services backend.
func (n *Network) Progress() Progress {
	n.mu.Lock()
	p := Progress{Eligible: n.eligible}
	n.mu.Unlock()
	if len(n.services) > 0 {
		p.Applied, p.Waiting = n.services[0].Progress()
		p.Refused = n.keptOut()
	}
	return p
}
