// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"eastwest/internal/dataplane"
	"eastwest/internal/dataplane/metrics"
	"eastwest/internal/table"
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
	HealthzAddress  string // empty serves none
	MetricsAddress  string // empty serves none
	Profiling       bool   // beside the metrics
}

// RunProxy serves Services until ctx ends. What is in the kernel stays there.
func RunProxy(ctx context.Context, config ProxyConfig) error {
	if err := config.ask(ctx); err != nil {
		return err
	}
	if config.Backend == "" {
		config.Backend = Backends()[0]
	}
	var network *Network
	config.Metrics = metrics.New(config.Backend, func() table.Table[table.Service] { return network.Tables().Services })
	config.NoRoutes = true
	network, err := NewNetwork(config.NetworkConfig)
	if err != nil {
		return err
	}
	servers, err := config.servers(network)
	if err != nil {
		return err
	}
	defer func() {
		for _, s := range servers {
			s.Close()
		}
	}()
	go network.removeOthers(ctx)
	if err := network.Run(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
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
		if err := c.askNode(ctx); err != nil {
			return err
		}
	}
	if len(c.ServiceCIDRs) == 0 {
		c.askServiceCIDRs(ctx)
	}
	return nil
}

// askNode waits until this node's Node says what is asked of it.
func (c *ProxyConfig) askNode(ctx context.Context) error {
	for told := false; ; told = true {
		var own corev1.Node
		err := c.Client.Core().Get().Resource("nodes").Name(c.NodeName).Do(ctx).Into(&own)
		if err == nil && c.learn(&own) {
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

func (c *ProxyConfig) learn(own *corev1.Node) bool {
	if c.Detect == DetectNodeCIDR {
		c.Local.CIDRs = nil
		for _, text := range append([]string{own.Spec.PodCIDR}, own.Spec.PodCIDRs...) {
			if prefix, err := netip.ParsePrefix(text); err == nil && !contains(c.Local.CIDRs, prefix) {
				c.Local.CIDRs = append(c.Local.CIDRs, prefix.Masked())
			}
		}
		if len(c.Local.CIDRs) == 0 {
			return false
		}
	}
	if c.PrimaryNodePort {
		c.NodePortAddresses = nil
		for _, a := range own.Status.Addresses {
			if addr, err := netip.ParseAddr(a.Address); err == nil && a.Type == corev1.NodeInternalIP {
				c.NodePortAddresses = append(c.NodePortAddresses, netip.PrefixFrom(addr, addr.BitLen()))
			}
		}
		return len(c.NodePortAddresses) > 0
	}
	return true
}

func contains(list []netip.Prefix, prefix netip.Prefix) bool {
	for _, p := range list {
		if p == prefix.Masked() {
			return true
		}
	}
	return false
}

// askServiceCIDRs reads the ranges of virtual addresses. A cluster that does not tell them is served as well: then only
// addresses that a Service has are refused at ports that it has not.
func (c *ProxyConfig) askServiceCIDRs(ctx context.Context) {
	var list networkingv1.ServiceCIDRList
	if err := c.Client.Networking().Get().Resource("servicecidrs").Do(ctx).Into(&list); err != nil {
		c.Log.Warn("list ServiceCIDRs; addresses that no Service has are not refused (or give --service-cidr)", "err", err)
		return
	}
	for _, item := range list.Items {
		for _, text := range item.Spec.CIDRs {
			if prefix, err := netip.ParsePrefix(text); err == nil {
				c.ServiceCIDRs = append(c.ServiceCIDRs, prefix.Masked())
			}
		}
	}
}

// servers starts what answers probes and scrapes.
func (c *ProxyConfig) servers(network *Network) ([]*http.Server, error) {
	health := http.NewServeMux()
	health.Handle("/healthz", c.health(network, false))
	health.Handle("/livez", c.health(network, true))
	scrape := http.NewServeMux()
	scrape.Handle("/metrics", c.Metrics.Handler())
	scrape.Handle("/healthz", c.health(network, false))
	scrape.HandleFunc("/proxyMode", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, c.Backend) })
	if c.Profiling {
		scrape.HandleFunc("/debug/pprof/", pprof.Index)
		scrape.HandleFunc("/debug/pprof/profile", pprof.Profile)
		scrape.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		scrape.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}
	var out []*http.Server
	for _, s := range []struct {
		what, addr string
		handler    http.Handler
	}{{"healthz", c.HealthzAddress, health}, {"metrics", c.MetricsAddress, scrape}} {
		if s.addr == "" {
			continue
		}
		listener, err := net.Listen("tcp", s.addr)
		if err != nil {
			for _, server := range out {
				server.Close()
			}
			return nil, fmt.Errorf("serve %s: %w", s.what, err)
		}
		server := &http.Server{Handler: s.handler, ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 16 << 10}
		go func() {
			if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
				c.Log.Error("serve "+s.what, "address", s.addr, "err", err)
			}
		}()
		out = append(out, server)
	}
	return out, nil
}

// health answers as kube-proxy does: /livez says whether the proxy keeps up, /healthz also whether the node may be sent to.
func (c *ProxyConfig) health(network *Network, live bool) http.Handler {
	type answer struct {
		LastUpdated  time.Time `json:"lastUpdated"`
		CurrentTime  time.Time `json:"currentTime"`
		NodeEligible *bool     `json:"nodeEligible,omitempty"`
		Refused      []string  `json:"refusedServices,omitempty"` // ours: by the kernel; see quarantine
	}
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		p, now := network.Progress(), time.Now()
		out, healthy := answer{LastUpdated: p.Applied, CurrentTime: now, Refused: p.Refused}, p.Healthy() && !p.Applied.IsZero()
		if !live {
			out.NodeEligible = &p.Eligible
			healthy = healthy && p.Eligible
		}
		code := http.StatusServiceUnavailable
		if healthy {
			code, out.LastUpdated = http.StatusOK, now
		}
		c.Metrics.Asked(live, code)
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(out)
	})
}
