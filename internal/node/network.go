// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"math"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"eastwest/internal/client"
	"eastwest/internal/cni/sourceguard"
	"eastwest/internal/compile"
	"eastwest/internal/dataplane"
	"eastwest/internal/dataplane/announce"
	"eastwest/internal/dataplane/connections"
	"eastwest/internal/dataplane/healthcheck"
	"eastwest/internal/dataplane/masquerade"
	"eastwest/internal/dataplane/metrics"
	"eastwest/internal/dataplane/routes/direct"
	"eastwest/internal/kernel/neighbour"
	"eastwest/internal/kernel/nft"
	"eastwest/internal/kernel/route"
	"eastwest/internal/kernel/vxlan"
	"eastwest/internal/kubelet/events"
	"eastwest/internal/reconcile"
	"eastwest/internal/snapshot"
	"eastwest/internal/table"
	"eastwest/internal/watch"
)

// NetworkConfig is what a Network needs. Nil dataplanes are left out.
type NetworkConfig struct {
	Client       *client.Client
	NodeName     string
	NodeIPs      []netip.Addr
	ClusterCIDRs []netip.Prefix
	ServiceCIDRs []netip.Prefix // ranges of services, without asking the cluster
	FollowRanges bool           // those of the cluster's ServiceCIDRs as well
	DNSService   string         // namespace/name of the Service that this node's own agent serves; empty for none
	NameTTL      uint32         // of DNS records, in seconds
	Netns        string         // path of the network namespace; empty is the program's own
	RunDir       string         // where services are left for the next start; empty for nowhere

	Backend           string                          // of services, one of Backends; empty is the first
	IPVS              IPVS                            // for that backend alone
	Local             dataplane.Local                 // how services know pods; by ClusterCIDRs where it is zero
	NoLocal           bool                            // do not tell pods from others at all
	NodePortAddresses []netip.Prefix                  // where node ports are served; empty is everywhere but on loopback, which has to be named
	MasqueradeAll     bool                            // every connection to a service
	Tracking          Tracking                        // of connections
	Metrics           *metrics.Metrics                // of the services dataplane; may be nil
	Names             dataplane.Dataplane[table.Name] // the DNS server's zone
	Pods              bool                            // watch pods, with which pod records are verified
	NoServices        bool                            // leave services to somebody else, as DNS alone does
	Overlay           compile.Overlay                 // how the pods of other nodes are reached
	Own               func(*snapshot.Node)            // told of this node's Node when something changes; may be nil
	TellRanges        func([]netip.Prefix)            // told all ranges of services, at first and when they change; may be nil
	NoRoutes          bool                            // leave routes and egress to somebody else, as proxy and DNS alone do
	Log               *slog.Logger

	ranges *dataplane.Ranges // of services, as they are now
}

// Network keeps services, names, routes and masquerading of one node equal to the cluster.
type Network struct {
	config   NetworkConfig
	store    *snapshot.Store
	watcher  *watch.Watcher
	compiler *compile.Compiler
	routing  *route.Conn
	overlay  *vxlan.Conn
	tables   *nft.Conn

	services []*reconcile.Loop[table.Service]
	streams  *connections.Streams
	mend     func(context.Context) error // notices that others changed what services wrote
	events   *events.Recorder
	checks   *healthcheck.Backend
	checking []*reconcile.Loop[table.Service]
	keptOut  func() []string // Services that the kernel refuses
	names    *reconcile.Loop[table.Name]
	routes   *reconcile.Loop[table.Route]
	tunnels  *reconcile.Loop[table.Tunnel] // nil without an overlay
	egress   *reconcile.Loop[table.Egress]
	announce *reconcile.Loop[table.Announcement] // nil where somebody else does

	ranged chan struct{} // closed when the ranges of services are known

	nodeAddrs atomic.Pointer[map[netip.Addr]bool]

	mu       sync.Mutex
	last     compile.Tables
	known    snapshot.Snapshot // what they were compiled from, or newer
	eligible bool
}

// NewNetwork composes the pipeline of one node; Run starts it.
func NewNetwork(config NetworkConfig) (*Network, error) {
	if config.NodeName == "" || config.Log == nil {
		return nil, errors.New("make the network: NodeName and Log are required")
	}
	if config.Backend == "" {
		config.Backend = Backends()[0]
	}
	config.ranges = dataplane.NewRanges(config.ServiceCIDRs...)
	n := &Network{config: config, ranged: make(chan struct{}), store: snapshot.NewStore(), routing: route.New(config.Netns), overlay: vxlan.New(config.Netns), tables: nft.New(config.Netns)}
	var err error
	if n.watcher, err = watch.New(watch.Config{
		Client: config.Client, Store: n.store, OnlyNode: onlyNode(config), Namespaces: config.Names != nil, Pods: config.Pods, Log: config.Log,
	}); err != nil {
		return nil, err
	}
	n.compiler = compile.New(compile.Config{
		NodeName: config.NodeName, NodeIPs: config.NodeIPs, ClusterCIDRs: config.ClusterCIDRs,
		DNSService: config.DNSService, NameTTL: config.NameTTL, MasqueradeAll: config.MasqueradeAll,
		Overlay: config.Overlay, NoNames: config.Names == nil, NamesOnly: config.NoServices, NoAnnounce: config.NoRoutes,
	})
	return n, n.addDataplanes()
}

func (n *Network) addDataplanes() error {
	if !n.config.NoServices {
		if err := n.addServices(n.tables); err != nil {
			return err
		}
	}
	if n.config.Names != nil {
		// Names are in this process: nobody else can change them, so there is nothing to resync with.
		n.names = reconcile.NewLoop(reconcile.Config{Name: "names", Resync: math.MaxInt64, Log: n.config.Log}, n.config.Names)
	}
	if !n.config.NoRoutes {
		n.routes = newLoop(n, "routes", direct.New(n.routing, n.config.NodeIPs))
		n.egress = newLoop(n, "egress", masquerade.New(n.tables))
		announcer := announce.New
		if n.config.Backend == backendIPVS {
			announcer = announce.ForOwn
		}
		n.announce = newLoop(n, "announcements", announcer(neighbour.New(n.config.Netns), n.tables))
		n.addOverlay()
	}
	return nil
}

func newLoop[R any](n *Network, name string, target reconcile.Applier[R]) *reconcile.Loop[R] {
	return reconcile.NewLoop(reconcile.Config{Name: name, Pace: pace, Log: n.config.Log}, target)
}

// A rolling restart's changes, a thousand a second, are compiled and applied a few dozens at a time.
const (
	pace        = 4 * time.Millisecond
	longestPace = 16 * time.Millisecond
)

// Tables returns what was compiled last, for explanations and listings.
func (n *Network) Tables() compile.Tables {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.last
}

// Confirmed returns when what is known was last seen to be what the API server has; see watch.Watcher.
func (n *Network) Confirmed() time.Time { return n.watcher.Confirmed() }

// Mended returns how many events the watches lost.
func (n *Network) Mended() uint64 { return n.watcher.Mended() }

// Ready reports whether every dataplane was applied once.
func (n *Network) Ready() bool {
	for _, ready := range n.readiness() {
		select {
		case <-ready:
		default:
			return false
		}
	}
	return true
}

// WaitReady returns when every dataplane was applied once.
func (n *Network) WaitReady(ctx context.Context) error {
	for _, ready := range n.readiness() {
		select {
		case <-ready:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// WaitNames returns when the names were applied once.
func (n *Network) WaitNames(ctx context.Context) error {
	select {
	case <-n.names.Ready():
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (n *Network) readiness() []<-chan struct{} {
	var all []<-chan struct{}
	for _, loop := range n.services {
		all = append(all, loop.Ready())
	}
	if n.names != nil {
		all = append(all, n.names.Ready())
	}
	if n.routes != nil {
		all = append(all, n.routes.Ready(), n.egress.Ready(), n.announce.Ready())
	}
	if n.tunnels != nil {
		all = append(all, n.tunnels.Ready())
	}
	return all
}

// Run works until ctx ends or a part cannot go on. What is in the kernel stays there.
func (n *Network) Run(ctx context.Context) error {
	if err := n.prepareOverlay(ctx); err != nil {
		return fmt.Errorf("run the node's network: %w", err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var running sync.WaitGroup
	for _, part := range n.parts() {
		running.Go(func() {
			if err := part(ctx); err != nil && ctx.Err() == nil {
				cancel(fmt.Errorf("run the node's network: %w", err))
			}
		})
	}
	running.Wait()
	return context.Cause(ctx)
}

func (n *Network) parts() []func(context.Context) error {
	parts := []func(context.Context) error{n.watcher.Run, n.followRanges, n.compile}
	for _, loop := range n.services {
		parts = append(parts, loop.Run)
	}
	if len(n.services) > 0 {
		parts = append(parts, n.mend, n.streams.Run, n.check, n.track, n.sendEvents, n.lookAtProgram)
	}
	if n.names != nil {
		parts = append(parts, n.names.Run)
	}
	if n.routes != nil {
		mend := func(ctx context.Context) error {
			return n.routing.Watch(ctx, sourceguard.Group, func() { n.routes.Resync(); n.announce.Resync() })
		}
		parts = append(parts, n.routes.Run, n.egress.Run, n.announce.Run, mend)
	}
	if n.tunnels != nil {
		parts = append(parts, n.overlayParts()...)
	}
	return parts
}

// compile turns snapshots into tables, beginning when every watch had its first full list.
func (n *Network) compile(ctx context.Context) error {
	for _, known := range []<-chan struct{}{n.watcher.Synced(), n.ranged} {
		select {
		case <-known:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	begin, before := time.Now(), snapshot.Snapshot{}
	gather := reconcile.Pacer{Least: pace, Most: longestPace}
	for gather.Wait(ctx) {
		now, changes := n.store.Take()
		n.count(begin, before, now, changes)
		before = now
		n.mu.Lock()
		n.known = now
		n.mu.Unlock()
		if n.config.Names != nil && (len(changes.Nodes) > 0 || n.nodeAddrs.Load() == nil) {
			nodes := addressesOf(now)
			n.nodeAddrs.Store(&nodes)
		}
		n.look(now)
		if changes.ServiceCIDRs {
			n.setRanges(now.ServiceCIDRs)
		}
		n.offer(n.compiler.Update(now, changes))
		select {
		case <-n.store.Changed():
		case <-ctx.Done():
		}
	}
	return ctx.Err()
}

// listed yields the address of every endpoint that slices list.
func (n *Network) listed() iter.Seq[netip.Addr] {
	n.mu.Lock()
	known := n.known
	n.mu.Unlock()
	return func(yield func(netip.Addr) bool) {
		for _, list := range known.Slices.All() {
			for _, slice := range list {
				for i := range slice.Endpoints {
					if !yield(slice.Endpoints[i].Addrs[0]) {
						return
					}
				}
			}
		}
	}
}

func (n *Network) offer(tables compile.Tables, keys compile.Keys) {
	n.mu.Lock()
	n.last = tables
	n.mu.Unlock()
	for _, loop := range n.services {
		loop.Offer(tables.Services, keys.Services)
	}
	for _, loop := range n.checking {
		loop.Offer(tables.Services, keys.Services)
	}
	if n.config.Metrics != nil && (keys.Services.All || len(keys.Services.Names) > 0) {
		n.config.Metrics.Queued()
	}
	if n.names != nil {
		n.names.Offer(tables.Names, keys.Names)
	}
	if n.routes != nil {
		n.routes.Offer(tables.Routes, keys.Routes)
		n.egress.Offer(tables.Egress, keys.Egress)
		n.announce.Offer(tables.Announcements, keys.Announcements)
	}
	if n.tunnels != nil {
		n.tunnels.Offer(tables.Tunnels, keys.Tunnels)
	}
}
