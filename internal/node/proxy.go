// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"

	"eastwest/internal/dataplane"
	"eastwest/internal/dataplane/metrics"
	"eastwest/internal/snapshot"
	"eastwest/internal/table"
	"eastwest/internal/watch"
)

// How a proxy tells pods from clients outside, by the names that kube-proxy's flag has.
const (
	DetectClusterCIDR     = "ClusterCIDR"
	DetectNodeCIDR        = "NodeCIDR"
	DetectBridge          = "BridgeInterface"
	DetectInterfacePrefix = "InterfaceNamePrefix"
)

// ProxyConfig is what a service proxy alone needs.
type ProxyConfig struct {
	NetworkConfig
	Detect          string // one of the modes above
	PodBridge       string
	PodPrefix       string
	PrimaryNodePort bool   // node ports are served at the Node's own addresses alone
	Localhost       bool   // and, with PrimaryNodePort, on loopback
	HealthzAddress  string // empty serves none
	MetricsAddress  string // empty serves none
	Profiling       bool   // beside the metrics
}

// errChanged ends a network whose configuration the cluster changed.
var errChanged = errors.New("what the cluster says of this node changed")

// RunProxy serves Services until ctx ends. What is in the kernel stays there.
func RunProxy(ctx context.Context, config ProxyConfig) error {
	if config.Backend == "" {
		config.Backend = Backends()[0]
	}
	config.NoRoutes = true
	var current atomic.Pointer[Network] // nil before what only the cluster knows is known
	config.Metrics = metrics.New(config.Backend, func() (none table.Table[table.Service]) {
		if network := current.Load(); network != nil {
			return network.Tables().Services
		}
		return none
	})
	servers, err := config.servers(func() (none Progress) {
		if network := current.Load(); network != nil {
			return network.Progress()
		}
		return none
	})
	if err != nil {
		return err
	}
	defer func() {
		for _, s := range servers {
			s.Close()
		}
	}()
	for err = errChanged; errors.Is(err, errChanged); {
		err = config.serve(ctx, &current)
	}
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// serve serves Services as long as the cluster says the same of this node; then it returns errChanged.
// Another network compares what is in the kernel with what it wants, as after a restart.
func (c ProxyConfig) serve(ctx context.Context, current *atomic.Pointer[Network]) error {
	c.FollowRanges = len(c.ServiceCIDRs) == 0
	if err := c.ask(ctx); err != nil {
		return err
	}
	ctx, stop := context.WithCancelCause(ctx)
	var running sync.WaitGroup
	defer running.Wait()
	defer stop(nil)
	c.Own = func(own *snapshot.Node) {
		now := c
		if now.learn(own) && !(slices.Equal(now.Local.CIDRs, c.Local.CIDRs) && slices.Equal(now.NodePortAddresses, c.NodePortAddresses)) {
			c.Log.Warn("this node's pod CIDRs or addresses changed: begin anew with them", "node", c.NodeName)
			stop(errChanged)
		}
	}
	network, err := NewNetwork(c.NetworkConfig)
	if err != nil {
		return err
	}
	current.Store(network)
	running.Go(func() { network.removeOthers(ctx) })
	return network.Run(ctx)
}

// RemoveProxy takes away what proxies of every backend left, and sets back what they set of the loopback.
func RemoveProxy(ctx context.Context, config NetworkConfig) error {
	errs := []error{closeLoopback(config.Netns), config.forget()}
	for _, name := range Backends() {
		errs = append(errs, removeBackend(ctx, name, config))
	}
	return errors.Join(errs...)
}

// ask completes the configuration with what only the cluster knows.
func (c *ProxyConfig) ask(ctx context.Context) error {
	switch c.Detect {
	case DetectClusterCIDR:
		if c.NoLocal = len(c.ClusterCIDRs) == 0; c.NoLocal {
			c.Log.Warn("without --cluster-cidr or another --detect-local-mode pods are not told from clients outside")
		}
	case DetectBridge:
		c.Local = dataplane.Local{Bridge: c.PodBridge}
	case DetectInterfacePrefix:
		c.Local = dataplane.Local{InterfacePrefix: c.PodPrefix}
	}
	if c.Detect == DetectNodeCIDR || c.PrimaryNodePort {
		return c.askNode(ctx)
	}
	return nil
}

// askNode waits until this node's Node says what is asked of it.
func (c *ProxyConfig) askNode(ctx context.Context) error {
	for told := false; ; told = true {
		var own corev1.Node
		err := c.Client.Core().Get().Resource("nodes").Name(c.NodeName).Do(ctx).Into(&own)
		if err == nil && c.learn(watch.TrimNode(&own)) {
			return nil
		}
		if !told {
			c.Log.Warn("wait for the Node to have its addresses and pod CIDRs", "node", c.NodeName, "err", err)
		}
		if !sleep(ctx, time.Second) {
			return ctx.Err()
		}
	}
}

// learn takes over what a Node says of what is asked of it; false where it does not say it.
func (c *ProxyConfig) learn(own *snapshot.Node) bool {
	if c.Detect == DetectNodeCIDR {
		if len(own.PodCIDRs) == 0 {
			return false
		}
		c.Local.CIDRs = own.PodCIDRs
	}
	if c.PrimaryNodePort {
		primary := primaryAddresses(own)
		if len(primary) == 0 {
			return false
		}
		c.NodePortAddresses = primary
		if c.Localhost {
			c.NodePortAddresses = append(c.NodePortAddresses, dataplane.Loopback)
		}
	}
	return true
}

// primaryAddresses returns a Node's first address of each family, an internal one where it has any.
func primaryAddresses(own *snapshot.Node) []netip.Prefix {
	var out []netip.Prefix
	for _, ipv6 := range []bool{false, true} {
		all := slices.Concat(own.Addrs, own.Others)
		if i := slices.IndexFunc(all, func(a netip.Addr) bool { return a.Is6() == ipv6 }); i >= 0 {
			out = append(out, netip.PrefixFrom(all[i], all[i].BitLen()))
		}
	}
	return out
}
