// SPDX-License-Identifier: Apache-2.0

package nodecmd

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"os/signal"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"k8s.io/client-go/tools/clientcmd"

	"eastwest/internal/client"
	"eastwest/internal/node"
)

// proxyFlags are what a person writes.
type proxyFlags struct {
	config                              node.NetworkConfig
	kubeconfig                          string
	nodeIPs, clusterCIDRs, serviceCIDRs []string
	verbose                             bool
}

func newProxy(s Streams) *cobra.Command {
	f := &proxyFlags{}
	cmd := &cobra.Command{
		Use:     "proxy --kubeconfig FILE",
		Short:   "Run the service proxy alone",
		Long:    `Run the service proxy of one node, in place of kube-proxy, against any Kubernetes API server. The agent of a node runs the same proxy.`,
		Example: `  eastwest proxy --kubeconfig /etc/kubernetes/kube-proxy.conf --node-ip 192.0.2.11 --cluster-cidr 10.244.0.0/16`,
		Args:    arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.parse(); err != nil {
				return usageError{err}
			}
			f.config.Log = logger(s, f.verbose)
			ctx, stop := signal.NotifyContext(cmd.Context(), unix.SIGTERM, unix.SIGINT)
			defer stop()
			return f.run(ctx)
		},
	}
	hostname, _ := os.Hostname()
	flags := cmd.Flags()
	flags.StringVar(&f.kubeconfig, "kubeconfig", "", "kubeconfig of the cluster (required)")
	flags.StringVar(&f.config.NodeName, "node-name", strings.ToLower(hostname), "name of this node's Node")
	flags.StringSliceVar(&f.nodeIPs, "node-ip", nil, "addresses of this node")
	flags.StringSliceVar(&f.clusterCIDRs, "cluster-cidr", []string{"10.244.0.0/16"}, "range of pods: clients from elsewhere are masqueraded")
	flags.StringSliceVar(&f.serviceCIDRs, "service-cidr", []string{"10.96.0.0/12"}, "range of services: unused addresses of it are refused")
	flags.BoolVarP(&f.verbose, "verbose", "v", false, "log what is done, not only what is wrong")
	return cmd
}

func (f *proxyFlags) parse() error {
	if f.kubeconfig == "" {
		return errors.New("--kubeconfig is required")
	}
	var err error
	if f.config.NodeIPs, err = parseEach("--node-ip", f.nodeIPs, netip.ParseAddr); err != nil {
		return err
	}
	if f.config.ClusterCIDRs, err = parseEach("--cluster-cidr", f.clusterCIDRs, netip.ParsePrefix); err != nil {
		return err
	}
	f.config.ServiceCIDRs, err = parseEach("--service-cidr", f.serviceCIDRs, netip.ParsePrefix)
	return err
}

func (f *proxyFlags) run(ctx context.Context) error {
	config, err := clientcmd.BuildConfigFromFlags("", f.kubeconfig)
	if err != nil {
		return err
	}
	if f.config.Client, err = client.New(config); err != nil {
		return err
	}
	f.config.NoRoutes = true
	network, err := node.NewNetwork(f.config)
	if err != nil {
		return err
	}
	if err := network.Run(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}
