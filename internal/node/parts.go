// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"eastwest/internal/dataplane/metrics"
	"eastwest/internal/dns"
	"eastwest/internal/dns/config"
	"eastwest/internal/kubelet"
	"eastwest/internal/table"
)

// dnsService is the Service that agents serve, and agentDNSPort the port at which the agents of other nodes are asked
// while a node's own is down.
const (
	dnsService   = "kube-system/kube-dns"
	agentDNSPort = 10053
	nameTTL      = 30 // seconds

	dnsMetricsPort = 9153 // as the DNS Service says

	dnsPatience = 10 * time.Second // how long names are waited for before outside names are served without them
)

// startNetwork starts the pipeline and the DNS server that answers from it.
func (a *agent) startNetwork() (*Network, error) {
	log := a.Log.With("part", "dns")
	zone, err := dns.NewZone(dns.ZoneConfig{
		Domain: a.Domain, Nameservers: a.dnsAddresses(), Reverse: slices.Concat(a.ServiceCIDRs, a.ClusterCIDRs), Log: log,
	})
	if err != nil {
		return nil, err
	}
	var network *Network
	config := NetworkConfig{
		Client: a.client, NodeName: a.NodeName, NodeIPs: a.NodeIPs, ClusterCIDRs: a.ClusterCIDRs, ServiceCIDRs: a.ServiceCIDRs, FollowRanges: true,
		TellRanges: func(services []netip.Prefix) { zone.SetReverse(slices.Concat(services, a.ClusterCIDRs)) },
		DNSService: dnsService, NameTTL: nameTTL, Names: zone, Overlay: a.Overlay, Backend: a.Backend, RunDir: a.RunDir, Log: a.Log.With("part", "network"),
		Tracking: DefaultTracking(), IPVS: DefaultIPVS(),
	}
	if a.Scheduler != "" {
		config.IPVS.Scheduler = a.Scheduler
	}
	if config.Backend == "" {
		config.Backend = Backends()[0]
	}
	config.Metrics = metrics.New(config.Backend, func() table.Table[table.Service] { return network.Tables().Services })
	if network, err = NewNetwork(config); err != nil {
		return nil, err
	}
	a.serveProxy(network, config)
	a.start("network", network.Run)
	a.running.Go(func() { network.removeOthers(a.ctx) })
	a.start("dns", func(ctx context.Context) error {
		sockets, kept := a.dnsSockets()
		// Until names are known, pods are served by another node's agent, which knows them: an address that nobody serves
		// here leads there. Where the API server is away, outside names are worth more than waiting.
		known, cancel := context.WithTimeout(ctx, dnsPatience)
		_ = network.WaitNames(known)
		cancel()
		server, err := dns.NewServer(dns.ServerConfig{
			Zone: zone, Feed: network, NamespaceOf: a.pods.of, Listen: a.dnsListen(), Inherited: kept, SecureAt: a.NodeIPs, ResolvConf: a.ResolvConf, Allow: a.dnsClients(), Log: log,
		})
		if err != nil {
			return err
		}
		a.start("dns sockets", func(ctx context.Context) error { return sockets.run(ctx, server, network.aloneForDNS) })
		return a.serveDNS(ctx, server)
	})
	return network, nil
}

// serveProxy tells probes and scrapes about services. A port that somebody else has must not end the agent.
func (a *agent) serveProxy(network *Network, config NetworkConfig) {
	proxy := ProxyConfig{NetworkConfig: config, HealthzAddress: a.Healthz, MetricsAddress: a.Metrics}
	servers, err := proxy.servers(network.Progress)
	if err != nil {
		a.Log.Warn("no health and metrics of services", "part", "network", "err", err)
		return
	}
	a.start("health and metrics of services", func(ctx context.Context) error {
		<-ctx.Done()
		for _, server := range servers {
			server.Close()
		}
		return nil
	})
}

// serveDNS serves names as their configuration says, and their metrics at the node's addresses.
func (a *agent) serveDNS(ctx context.Context, server *dns.Server) error {
	for _, address := range a.NodeIPs {
		a.start("dns metrics", func(ctx context.Context) error {
			// Names are worth more than their metrics: a port that somebody else has must not end the agent.
			if err := server.Observe(ctx, netip.AddrPortFrom(address, dnsMetricsPort).String()); err != nil {
				a.Log.Warn("no dns metrics", "part", "dns", "err", err)
			}
			return nil
		})
	}
	a.start("dns configuration", func(ctx context.Context) error {
		config.Follow(ctx, a.dnsConfig(), server.Configure, a.Log.With("part", "dns"))
		return nil
	})
	return server.Run(ctx)
}

// dnsConfig is the file that configures DNS; it need not be there.
func (a *agent) dnsConfig() string {
	if a.DNSConfig != "" {
		return a.DNSConfig
	}
	return filepath.Join(a.StateDir, "dns.yaml")
}

// dnsListen returns where DNS is served: at the virtual IP, for pods of this node, and at the node's addresses, for pods
// of nodes whose agent is down.
func (a *agent) dnsListen() []string {
	var out []string
	for _, address := range a.dnsAddresses() {
		out = append(out, netip.AddrPortFrom(address, 53).String())
	}
	for _, address := range a.NodeIPs {
		out = append(out, netip.AddrPortFrom(address, agentDNSPort).String())
	}
	return out
}

// dnsClients returns whose queries are answered: pods, this node (which asks the virtual IP from that address itself), and
// hosts on the networks of the node's own addresses.
func (a *agent) dnsClients() []netip.Prefix {
	allowed := append([]netip.Prefix(nil), a.ClusterCIDRs...)
	for _, address := range append(a.dnsAddresses(), a.NodeIPs...) {
		allowed = append(allowed, netip.PrefixFrom(address, address.BitLen()))
	}
	interfaces, err := net.InterfaceAddrs()
	if err != nil {
		return allowed
	}
	for _, address := range interfaces {
		prefix, err := netip.ParsePrefix(address.String())
		if err != nil {
			continue
		}
		for _, own := range a.NodeIPs {
			if prefix.Addr() == own {
				allowed = append(allowed, prefix.Masked())
			}
		}
	}
	return allowed
}

func (a *agent) startKubelet() error {
	endpoint := a.Runtime
	if endpoint == "" {
		endpoint = "unix://" + a.criSocket()
	}
	manifests := a.StaticPods
	if manifests == "" {
		manifests = filepath.Join(a.StateDir, "manifests")
		if err := os.MkdirAll(manifests, 0o700); err != nil {
			return fmt.Errorf("make folder of static pods: %w", err)
		}
	}
	k, err := kubelet.New(kubelet.Config{
		NodeName: a.NodeName, NodeIPs: a.NodeIPs, RootDir: filepath.Join(a.StateDir, "kubelet"), RuntimeEndpoint: endpoint,
		ClusterDNS: a.dnsAddresses(), ClusterDomain: a.Domain, ResolvConf: a.ResolvConf, Client: a.client,
		Listen:             net.JoinHostPort(a.NodeIPs[0].String(), strconv.Itoa(kubeletPort)),
		ServingCertificate: a.identity.serving.get, ClientCA: a.identity.pool, Labels: a.Labels,
		CgroupRoot: a.CgroupRoot, UnsafeSysctls: a.UnsafeSysctls, Eviction: a.Eviction, StaticPodPath: manifests, ImageAccess: a.ImageAccess, Shutdown: a.Shutdown, Log: a.Log.With("part", "kubelet"),
	})
	if err != nil {
		return err
	}
	namespaces := k.Namespaces
	a.pods.look.Store(&namespaces)
	a.start("kubelet", k.Run)
	a.start("serving certificate", a.keepServingCertificate)
	a.running.Go(func() {
		select {
		case <-a.ctx.Done():
		case <-a.PowerOff:
			k.ShutDown(a.ctx)
			a.fail(context.Canceled) // its work is done
		}
	})
	return nil
}

// kubeletPort is where the API server expects kubelets.
const kubeletPort = 10250
