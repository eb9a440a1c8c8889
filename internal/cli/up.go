// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"eastwest/internal/addressplan"
	"eastwest/internal/cli/flagvalue"
	"eastwest/internal/cluster"
)

func newUp(s Streams) *cobra.Command {
	options := cluster.DefaultOptions()
	var where place
	var node, pod, service, pools []string
	var family string
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start a cluster on this machine",
		Long: `Start a cluster on this machine: every node has its own network, file system and host name, joined by a bridge.
It returns when every node is Ready and DNS answers. The first node is the control plane and takes pods as well.
The context eastwest-NAME is merged into the usual kubeconfig, or written to the file given by --kubeconfig.`,
		Example: "  eastwest up\n  eastwest up --name two --nodes 5 --kubeconfig two.kubeconfig\n  eastwest up --cni bridge --overlay vxlan\n  eastwest up --cri containerd\n  eastwest up --ip-family dual",
		Args:    arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			options.IPFamily = cluster.IPFamily(family)
			var err error
			for _, r := range []struct {
				flag     string
				texts    []string
				prefixes *[]netip.Prefix
			}{{"--node-cidr", node, &options.NodeCIDRs}, {"--pod-cidr", pod, &options.PodCIDRs}, {"--service-cidr", service, &options.ServiceCIDRs}} {
				if *r.prefixes, err = flagvalue.Each(r.flag, r.texts, netip.ParsePrefix); err != nil {
					return &UsageError{Err: err}
				}
			}
			if options.LoadBalancers, err = flagvalue.Each("--load-balancer-pool", pools, addressplan.ParseRange); err != nil {
				return &UsageError{Err: err}
			}
			if options.ResolvConf, err = filepath.Abs(options.ResolvConf); err != nil {
				return fmt.Errorf("find --resolv-conf: %w", err)
			}
			return runUp(cmd, s, &where, options)
		},
	}
	flags := cmd.Flags()
	nameFlag(cmd, &options.Name)
	flags.IntVar(&options.Nodes, "nodes", options.Nodes, "number of nodes, the control plane among them")
	flags.StringVar(&options.Kubeconfig, "kubeconfig", "", "file to write the context to (default: as kubectl, $KUBECONFIG or ~/.kube/config)")
	flags.StringVar(&family, "ip-family", string(options.IPFamily), "IP families of nodes, pods and services: ipv4, ipv6, dual with IPv4 first, or dual-ipv6 with IPv6 first")
	flags.StringSliceVar(&node, "node-cidr", nil, "address range of the nodes, with dual one of each family (default: the first free private range from 172.18.0.0/16 on, from fd00:172:18::/64 on)")
	flags.StringSliceVar(&pod, "pod-cidr", nil, "address range of pods (default: 10.244.0.0/16, fd00:10:244::/56)")
	flags.StringSliceVar(&service, "service-cidr", nil, "address range of services (default: 10.96.0.0/12, fd00:10:96::/112)")
	flags.StringSliceVar(&pools, "load-balancer-pool", nil, "addresses of the node range for Services of type LoadBalancer, FIRST-LAST or CIDR (default: the range's last 250)")
	flags.StringVar(&options.Domain, "cluster-domain", options.Domain, "DNS domain of the cluster")
	flags.IntVar(&options.APIPort, "api-port", options.APIPort, "port of the API server on the control plane's address")
	flags.StringVar(&options.CNI, "cni", "", "how pods are attached to their node: ptp, a cable each, or bridge, all on br0 (default ptp)")
	flags.StringVar(&options.Overlay, "overlay", "", "how nodes reach each other's pods: none, by plain routes; vxlan, encapsulated; auto, encapsulated where there is a router between (default none)")
	flags.StringVar(&options.Backend, "backend", "", "what carries services on the nodes: nftables, iptables or ipvs (default nftables)")
	flags.StringSliceVar(&options.Controllers, "controllers", nil, "controllers that the server runs: * for all, NAME for one, -NAME for all but one; eastwest server --help has the names (default *)")
	flags.StringVar(&options.CRI, "cri", "", "container runtime of the nodes: containerd or docker, whose programs this host must have (default: the one that is built in)")
	flags.StringArrayVar(&options.Mirrors, "registry-mirror", nil, "host that nodes ask for images before their registry, REGISTRY=URL; several are asked in turn")
	flags.DurationVar(&options.ShutdownGracePeriod, "shutdown-grace-period", 0, "how long pods may take to end when their node is stopped or restarted; 0s: they end with it")
	flags.DurationVar(&options.ShutdownGracePeriodCriticalPods, "shutdown-grace-period-critical-pods", 0, "the last part of --shutdown-grace-period, which is left to critical pods")
	flags.StringVar(&options.ResolvConf, "resolv-conf", options.ResolvConf, "file that names the resolvers for names outside the cluster")
	flags.DurationVar(&options.Wait, "wait", options.Wait, "how long the cluster may take to serve")
	flags.BoolVar(&options.Retain, "retain", false, "keep a cluster that did not come up, to look at it")
	where.flags(cmd)
	return cmd
}

// joined writes ranges or addresses as flags take them.
func joined[T fmt.Stringer](list []T) string {
	texts := make([]string, len(list))
	for i, one := range list {
		texts[i] = one.String()
	}
	return strings.Join(texts, ",")
}

func runUp(cmd *cobra.Command, s Streams, where *place, options cluster.Options) error {
	ctx, stop := interruptible(cmd.Context())
	defer stop()
	progress := newProgress(s.Err)
	clusters, err := where.open(s, progress.tell)
	var record *cluster.Record
	if err == nil {
		record, err = clusters.Up(ctx, options)
	}
	progress.close()
	if err != nil {
		return err
	}
	name := cluster.ContextName(record.Name)
	fmt.Fprintf(s.Err, `cluster %q serves after %s: %d nodes on %s, API server %s
use it:     kubectl --context %s get nodes -o wide   (or eastwest kubectl …)
go inside:  eastwest node exec %s
remove it:  eastwest down --name %s
`, record.Name, progress.elapsed(), len(record.Nodes), joined(record.NodeCIDRs), record.Server(), name, record.Nodes[len(record.Nodes)-1].Name, record.Name)
	return nil
}
