// SPDX-License-Identifier: Apache-2.0

package nodecmd

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
	"k8s.io/client-go/tools/clientcmd"

	"eastwest/internal/cli/flagvalue"
	"eastwest/internal/client"
	"eastwest/internal/dns"
	"eastwest/internal/dns/config"
	"eastwest/internal/dns/forward"
	"eastwest/internal/kernel/memory"
	"eastwest/internal/kernel/socketowner"
	"eastwest/internal/node"
)

// dnsFlags are what a person writes.
type dnsFlags struct {
	server        dns.ServerConfig
	zone          dns.ZoneConfig
	kubeconfig    string
	allow, ranges []string
	upstreams     []string
	metrics       string
	config        string
	certificate   string
	key           string
	verbose       bool
}

func newDNS(s Streams) *cobra.Command {
	f := &dnsFlags{}
	cmd := &cobra.Command{
		Use:   "dns --listen ADDRESS:PORT",
		Short: "Run cluster DNS alone, or a forwarder",
		Long: `Run a DNS server. With --kubeconfig it answers the names of that cluster's services, and forwards all others; without
it only forwards. The agent of a node runs the same server.`,
		Example: `  eastwest dns --kubeconfig ~/.kube/config --listen 127.0.0.1:5353
  eastwest dns --listen 192.0.2.1:53 --resolv-conf /etc/resolv.conf`,
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), unix.SIGTERM, unix.SIGINT)
			defer stop()
			return f.run(ctx, s)
		},
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&f.server.Listen, "listen", []string{"127.0.0.1:53"}, "where to serve, over UDP and TCP")
	flags.StringSliceVar(&f.server.ListenTLS, "listen-tls", nil, "where to serve over TLS; 853 is the port that clients expect")
	flags.StringVar(&f.certificate, "tls-cert", "", "certificate for --listen-tls, PEM; read again when it changes")
	flags.StringVar(&f.key, "tls-key", "", "key of that certificate")
	flags.StringVar(&f.server.ResolvConf, "resolv-conf", "/etc/resolv.conf", "resolvers for names outside the cluster")
	flags.StringSliceVar(&f.upstreams, "upstream", nil, "resolvers (ADDRESS, ADDRESS:PORT or tls://ADDRESS#NAME) that are asked in place of those of --resolv-conf")
	flags.StringVar(&f.config, "config", "", "file with upstreams, stub zones, hosts and rewrites; taken over when it changes")
	flags.StringVar(&f.metrics, "metrics", "", "address:port of /metrics, /health and /ready (default: none)")
	flags.StringVar((*string)(&f.zone.Pods), "pods", string(dns.PodsInsecure), "pod records: disabled, insecure, or verified with the pods that there are")
	flags.StringVar(&f.kubeconfig, "kubeconfig", "", "kubeconfig of the cluster whose names are answered")
	flags.StringVar(&f.zone.Domain, "cluster-domain", "cluster.local", "domain of the cluster")
	flags.Uint32Var(&f.zone.TTL, "ttl", 30, "seconds that a cluster name may be remembered")
	flags.StringSliceVar(&f.ranges, "reverse", []string{"10.96.0.0/12", "10.244.0.0/16"}, "ranges of services and pods, whose reverse names are never forwarded")
	flags.StringSliceVar(&f.allow, "allow", nil, "ranges of clients that are answered (default: all)")
	flags.IntVar(&f.server.Cache, "cache", 10000, "entries of the cache for names outside the cluster")
	flags.DurationVar(&f.server.StaleFor, "serve-stale", time.Hour, "how long an expired entry helps out while no resolver answers")
	flags.BoolVarP(&f.verbose, "verbose", "v", false, "log what is done, not only what is wrong")
	cmd.AddCommand(newDNSQuery(s), newDNSConvert(s), newDNSKeep())
	return cmd
}

// Percentages of garbage that the collector allows. Answering makes none, so that little is enough to serve; the first
// lists make much, and are to be read fast.
const (
	gcServing = 30
	gcReading = 100
	gcLeast   = 10
)

// collectAt sets a percentage, unless a person set one.
func collectAt(percent int) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(percent)
	}
}

// garbageRoom is how much garbage may lie about, whatever is kept beside it: the more that is, the smaller a part garbage may be.
const garbageRoom = 4 << 20

// keepMemorySmall gives back what the first lists took, and has the collector follow what is kept from then on, until ctx ends.
func keepMemorySmall(ctx context.Context) {
	debug.FreeOSMemory()
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	last, live := 0, []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	for {
		metrics.Read(live)
		kept := max(live[0].Value.Uint64(), 1)
		if percent := int(min(max(100*garbageRoom/kept, gcLeast), gcReading)); percent < last-5 || percent > last+5 {
			collectAt(percent)
			last = percent
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (f *dnsFlags) run(ctx context.Context, s Streams) error {
	var err error
	collectAt(gcServing)
	f.server.Log = logger(s, f.verbose)
	if f.server.Allow, err = flagvalue.Each("--allow", f.allow, netip.ParsePrefix); err != nil {
		return usageError{err}
	}
	if f.server.Upstreams, err = flagvalue.Each("--upstream", f.upstreams, forward.ParseServer); err != nil {
		return usageError{err}
	}
	if err := f.readCertificate(); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	if f.kubeconfig != "" {
		if err := f.serveCluster(ctx, group); err != nil {
			return err
		}
	}
	dns.AwaitTurn(ctx, f.server.Zone, f.server.Listen, func(address string, owners []socketowner.Owner) {
		f.server.Log.Warn("another process serves dns there: both are asked until it ends", "address", address, "by", fmt.Sprint(owners))
	})
	server, err := dns.NewServer(f.server)
	if err != nil {
		return err
	}
	if f.config != "" {
		c, err := config.Read(f.config)
		if err != nil {
			server.Close()
			return err
		}
		server.Configure(c)
		group.Go(func() error { config.Watch(ctx, f.config, server.Configure, f.server.Log); return nil })
	}
	group.Go(func() error { return server.Run(ctx) })
	if f.metrics != "" {
		group.Go(func() error { return server.Observe(ctx, f.metrics) })
	}
	if err := group.Wait(); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// readCertificate reads what is shown over TLS.
func (f *dnsFlags) readCertificate() (err error) {
	if len(f.server.ListenTLS) == 0 {
		return nil
	}
	if f.certificate == "" || f.key == "" {
		return usageError{errors.New("--listen-tls needs --tls-cert and --tls-key")}
	}
	f.server.Certificate, err = dns.CertificateFiles(f.certificate, f.key)
	return err
}

// apiClient makes a client of the cluster that a kubeconfig names.
func apiClient(kubeconfig string) (*client.Client, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	return client.New(config)
}

// usualClient is apiClient for people: without a file it takes what kubectl takes.
func usualClient(kubeconfig string) (*client.Client, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = kubeconfig
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
	if clientcmd.IsEmptyConfig(err) {
		return nil, errors.New("there is no kubeconfig: name one with --kubeconfig or $KUBECONFIG")
	}
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	return client.New(config)
}

// serveCluster makes the zone and what keeps it equal to the cluster's services.
func (f *dnsFlags) serveCluster(ctx context.Context, group *errgroup.Group) error {
	var err error
	f.zone.Log = f.server.Log
	if f.zone.Reverse, err = flagvalue.Each("--reverse", f.ranges, netip.ParsePrefix); err != nil {
		return usageError{err}
	}
	api, err := apiClient(f.kubeconfig)
	if err != nil {
		return err
	}
	if f.server.Zone, err = dns.NewZone(f.zone); err != nil {
		return err
	}
	names, err := node.NewNetwork(node.NetworkConfig{
		Client: api, NodeName: "dns", Names: f.server.Zone, NameTTL: f.zone.TTL, NoServices: true, NoRoutes: true, Pods: f.zone.Pods == dns.PodsVerified, Log: f.server.Log,
	})
	if err != nil {
		return err
	}
	f.server.Feed, f.server.NamespaceOf = names, names.NamespacesOf(f.server.Zone)
	collectAt(gcReading)
	group.Go(func() error { return names.Run(ctx) })
	group.Go(func() error {
		if names.WaitReady(ctx) == nil {
			if _, err := memory.ForgetProgram(); err != nil {
				f.server.Log.Warn("more memory is used than need be", "err", err)
			}
			keepMemorySmall(ctx)
		}
		return nil
	})
	return nil
}
