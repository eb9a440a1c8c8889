// SPDX-License-Identifier: Apache-2.0

// Package servercmd is the command line of the program eastwest-server, the control plane. It is a program of its own, so
// that the many short commands of eastwest do not carry it, and it does not carry kubectl.
package servercmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os/signal"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"
	"k8s.io/klog/v2"

	"eastwest/internal/addressplan"
	"eastwest/internal/apiserver"
	"eastwest/internal/cli/flagvalue"
	"eastwest/internal/controller"
	"eastwest/internal/server"
)

// serverFlags are what a person writes; parse makes a configuration of it.
type serverFlags struct {
	dataDir, advertise, bind, domain, nodePorts string
	port                                        uint16
	clusterCIDRs, serviceCIDRs, names, etcd     []string
	loadBalancers, controllers                  []string
	verbose                                     bool
}

// Main runs the program with its arguments (without its name) and returns the exit status: 0, 1 when it failed, 2 for wrong
// usage. It logs to out.
func Main(ctx context.Context, args []string, out io.Writer) int {
	cmd := newServer(out)
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	fmt.Fprintf(out, "error: %v\n", err)
	var usage usageError
	if errors.As(err, &usage) {
		fmt.Fprintln(out, "see: eastwest server --help")
		return 2
	}
	return 1
}

// usageError says that the command was called in a wrong way.
type usageError struct{ error }

func newServer(out io.Writer) *cobra.Command {
	f := &serverFlags{}
	cmd := &cobra.Command{
		Use:   "server --advertise-address ADDRESS",
		Short: "Run a control plane: etcd, API server, controllers and scheduler",
		Long: `Run a control plane in one process: etcd (unless --etcd-endpoints names another), the Kubernetes API server, the
controllers and the scheduler.

It writes into its data folder, before it serves:
  token             the join token for eastwest agent
  admin.kubeconfig  the kubeconfig of the cluster's administrator

The controllers have the names that kube-controller-manager gives them; with '--controllers=*,-kube-scheduler' another
scheduler places the pods. They are:
` + names(),
		Example: `  eastwest server --advertise-address 192.0.2.10
  eastwest agent --server https://192.0.2.10:6443 --token-file token --node-ip 192.0.2.11   # on each node`,
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: "eastwest server"},
		SilenceErrors: true, SilenceUsage: true, CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError{fmt.Errorf("unknown argument %q", args[0])}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := f.parse()
			if err != nil {
				return usageError{err}
			}
			return run(cmd.Context(), config, out, f.verbose)
		},
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	f.add(cmd.Flags())
	return cmd
}

func (f *serverFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.dataDir, "data-dir", "/var/lib/eastwest/server", "folder for etcd, certificates and the join token")
	flags.StringVar(&f.advertise, "advertise-address", "", "address at which nodes reach this server (required)")
	flags.StringVar(&f.bind, "bind-address", "", "address to listen on (default: all)")
	flags.Uint16Var(&f.port, "secure-port", 6443, "port to listen on, with TLS")
	flags.StringSliceVar(&f.clusterCIDRs, "cluster-cidr", []string{"10.244.0.0/16"}, "range of pods; two, of both families, for dual stack")
	flags.StringSliceVar(&f.serviceCIDRs, "service-cluster-ip-range", []string{"10.96.0.0/12"}, "range of services; two, of both families, for dual stack")
	flags.StringVar(&f.nodePorts, "service-node-port-range", "30000-32767", "range of node ports")
	flags.StringSliceVar(&f.loadBalancers, "load-balancer-pool", nil, "addresses for Services of type LoadBalancer, FIRST-LAST or CIDR, on the nodes' network (default: none)")
	flags.StringSliceVar(&f.controllers, "controllers", []string{"*"}, "controllers to run: * for all, NAME for one, -NAME for all but one")
	flags.StringVar(&f.domain, "cluster-domain", "cluster.local", "domain of the cluster's DNS")
	flags.StringSliceVar(&f.names, "tls-san", nil, "more names and addresses of this server, for its certificate")
	flags.StringSliceVar(&f.etcd, "etcd-endpoints", nil, "etcd to use instead of one in this process")
	flags.BoolVarP(&f.verbose, "verbose", "v", false, "log what is done, not only what is wrong")
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
	if c.ClusterCIDRs, err = flagvalue.Each("--cluster-cidr", f.clusterCIDRs, netip.ParsePrefix); err != nil {
		return c, err
	}
	if c.ServiceCIDRs, err = flagvalue.Each("--service-cluster-ip-range", f.serviceCIDRs, netip.ParsePrefix); err != nil {
		return c, err
	}
	if c.LoadBalancers, err = flagvalue.Each("--load-balancer-pool", f.loadBalancers, addressplan.ParseRange); err != nil {
		return c, err
	}
	if _, err = fmt.Sscanf(f.nodePorts, "%d-%d", &c.NodePorts.First, &c.NodePorts.Last); err != nil {
		return c, fmt.Errorf("--service-node-port-range %q: expected FIRST-LAST", f.nodePorts)
	}
	if c.NodePorts == (apiserver.PortRange{}) {
		return c, fmt.Errorf("--service-node-port-range %q: holds no port", f.nodePorts)
	}
	c.Controllers = f.controllers
	if err := c.Controllers.Validate(); err != nil {
		return c, fmt.Errorf("--controllers: %w", err)
	}
	return c, nil
}

// names lists the controllers, two on a line.
func names() string {
	var out strings.Builder
	for i, name := range controller.Names() {
		if i%2 == 0 {
			fmt.Fprintf(&out, "  %-47s", name)
		} else {
			fmt.Fprintln(&out, name)
		}
	}
	return strings.TrimRight(out.String(), "\n ")
}

func run(ctx context.Context, config server.Config, out io.Writer, verbose bool) error {
	level := slog.LevelWarn
	if verbose {
		level = slog.LevelInfo
	}
	config.Log = slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: level}))
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
