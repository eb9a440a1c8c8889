// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os/signal"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"

	"eastwest/internal/addressplan"
	"eastwest/internal/apiserver"
	"eastwest/internal/server"
)

// serverFlags are what a person writes; parse makes a configuration of it.
type serverFlags struct {
	dataDir, advertise, bind, domain, nodePorts string
	port                                        uint16
	clusterCIDRs, serviceCIDRs, names, etcd     []string
	loadBalancers                               []string
	verbose                                     bool
}

func newServer(s Streams) *cobra.Command {
	f := &serverFlags{}
	cmd := &cobra.Command{
		Use:   "server --advertise-address ADDRESS",
		Short: "Run a control plane: etcd, API server, controllers and scheduler",
		Long: `Run a control plane in one process: etcd (unless --etcd-endpoints names another), the Kubernetes API server, the
controllers and the scheduler.

It writes into its data folder, before it serves:
  token             the join token for eastwest agent
  admin.kubeconfig  the kubeconfig of the cluster's administrator`,
		Example: `  eastwest server --advertise-address 192.0.2.10
  eastwest agent --server https://192.0.2.10:6443 --token-file token --node-ip 192.0.2.11   # on each node`,
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := f.parse()
			if err != nil {
				return &UsageError{Err: err}
			}
			return runServer(cmd.Context(), config, s, f.verbose)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&f.dataDir, "data-dir", "/var/lib/eastwest/server", "folder for etcd, certificates and the join token")
	flags.StringVar(&f.advertise, "advertise-address", "", "address at which nodes reach this server (required)")
	flags.StringVar(&f.bind, "bind-address", "", "address to listen on (default: all)")
	flags.Uint16Var(&f.port, "secure-port", 6443, "port to listen on, with TLS")
	flags.StringSliceVar(&f.clusterCIDRs, "cluster-cidr", []string{"10.244.0.0/16"}, "range of pods; two, of both families, for dual stack")
	flags.StringSliceVar(&f.serviceCIDRs, "service-cluster-ip-range", []string{"10.96.0.0/12"}, "range of services; two, of both families, for dual stack")
	flags.StringVar(&f.nodePorts, "service-node-port-range", "30000-32767", "range of node ports")
	flags.StringSliceVar(&f.loadBalancers, "load-balancer-pool", nil, "addresses for Services of type LoadBalancer, FIRST-LAST or CIDR, on the nodes' network (default: none)")
	flags.StringVar(&f.domain, "cluster-domain", "cluster.local", "domain of the cluster's DNS")
	flags.StringSliceVar(&f.names, "tls-san", nil, "more names and addresses of this server, for its certificate")
	flags.StringSliceVar(&f.etcd, "etcd-endpoints", nil, "etcd to use instead of one in this process")
	flags.BoolVarP(&f.verbose, "verbose", "v", false, "log what is done, not only what is wrong")
	return cmd
}

func (f *serverFlags) parse() (server.Config, error) {
	c := server.Config{DataDir: f.dataDir, Port: f.port, ClusterDomain: f.domain, Names: f.names, EtcdEndpoints: f.etcd}
	var err error
	if f.advertise == "" {
		return c, fmt.Errorf("--advertise-address is required: the address at which nodes reach this server")
	}
	if c.AdvertiseAddress, err = netip.ParseAddr(f.advertise); err != nil {
		return c, fmt.Errorf("--advertise-address: %w", err)
	}
	if f.bind != "" {
		if c.BindAddress, err = netip.ParseAddr(f.bind); err != nil {
			return c, fmt.Errorf("--bind-address: %w", err)
		}
	}
	if c.ClusterCIDRs, err = prefixes("--cluster-cidr", f.clusterCIDRs); err != nil {
		return c, err
	}
	if c.ServiceCIDRs, err = prefixes("--service-cluster-ip-range", f.serviceCIDRs); err != nil {
		return c, err
	}
	if c.LoadBalancers, err = ranges("--load-balancer-pool", f.loadBalancers); err != nil {
		return c, err
	}
	if _, err = fmt.Sscanf(f.nodePorts, "%d-%d", &c.NodePorts.First, &c.NodePorts.Last); err != nil {
		return c, fmt.Errorf("--service-node-port-range %q: expected FIRST-LAST", f.nodePorts)
	}
	if c.NodePorts == (apiserver.PortRange{}) {
		return c, fmt.Errorf("--service-node-port-range %q: holds no port", f.nodePorts)
	}
	return c, nil
}

func prefixes(flag string, texts []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, text := range texts {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("%s %q is no address range such as 10.0.0.0/16: %w", flag, text, err)
		}
		out = append(out, prefix)
	}
	return out, nil
}

func ranges(flag string, texts []string) ([]addressplan.Range, error) {
	var out []addressplan.Range
	for _, text := range texts {
		r, err := addressplan.ParseRange(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", flag, err)
		}
		out = append(out, r)
	}
	return out, nil
}

func runServer(ctx context.Context, config server.Config, s Streams, verbose bool) error {
	level := slog.LevelWarn
	if verbose {
		level = slog.LevelInfo
	}
	config.Log = slog.New(slog.NewTextHandler(s.Err, &slog.HandlerOptions{Level: level}))
	// Kubernetes' packages log through klog alone.
	klog.SetSlogLogger(config.Log)
	ctx, stop := signal.NotifyContext(ctx, unix.SIGTERM, unix.SIGINT)
	defer stop()
	control, err := server.New(config)
	if err != nil {
		return err
	}
	return control.Run(ctx)
}
