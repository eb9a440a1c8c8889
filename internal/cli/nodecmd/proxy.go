// SPDX-License-Identifier: Apache-2.0

package nodecmd

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containernetworking/cni/pkg/utils"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"k8s.io/client-go/tools/clientcmd"

	"eastwest/internal/cli/flagvalue"
	"eastwest/internal/client"
	"eastwest/internal/dataplane"
	"eastwest/internal/node"
)

// proxyFlags are what a person writes.
type proxyFlags struct {
	config                              node.ProxyConfig
	kubeconfig, master                  string
	nodeIPs, clusterCIDRs, serviceCIDRs []string
	nodePorts                           []string
	localhost, cleanup, verbose         bool
	level                               level
}

// level is how much kube-proxy logs, for command lines that were written for it.
type level int

// talkative is the level at which kube-proxy logs what it does.
const talkative = 2

func (l *level) String() string { return strconv.Itoa(int(*l)) }

// Type names the value in usage texts.
func (*level) Type() string { return "level" }

// Set takes a number.
func (l *level) Set(text string) error {
	n, err := strconv.Atoi(text)
	if err != nil {
		return fmt.Errorf("%q is no number", text)
	}
	*l = level(n)
	return nil
}

func newProxy(s Streams) *cobra.Command {
	f := &proxyFlags{}
	cmd := &cobra.Command{
		Use:   "proxy --kubeconfig FILE",
		Short: "Run the service proxy alone",
		Long: `Run the service proxy of one node, in place of kube-proxy, against any Kubernetes API server. The agent of a node runs
the same proxy. Flags have the names and meanings that kube-proxy gives them.`,
		Example: `  eastwest proxy --kubeconfig /etc/kubernetes/kube-proxy.conf --cluster-cidr 10.244.0.0/16
  eastwest proxy --cleanup`,
		Args: arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.parse(); err != nil {
				return usageError{err}
			}
			f.config.Log = logger(s, f.verbose || f.level >= talkative)
			ctx, stop := signal.NotifyContext(cmd.Context(), unix.SIGTERM, unix.SIGINT)
			defer stop()
			return f.run(ctx)
		},
	}
	f.add(cmd)
	return cmd
}

func (f *proxyFlags) add(cmd *cobra.Command) {
	flags, c := cmd.Flags(), &f.config
	flags.StringVar(&f.kubeconfig, "kubeconfig", "", "kubeconfig of the cluster (required)")
	flags.StringVar(&f.master, "master", "", "URL of the API server, instead of the kubeconfig's")
	flags.StringVar(&c.Backend, "backend", node.Backends()[0], "what carries the services: "+strings.Join(node.Backends(), " or "))
	flags.StringVar(&c.Backend, "proxy-mode", node.Backends()[0], "the same as --backend, by kube-proxy's name")
	flags.StringVar(&c.NodeName, "hostname-override", "", "name of this node's Node (default: the host's name)")
	flags.StringVar(&c.NodeName, "node-name", "", "the same as --hostname-override, by the agent's name")
	flags.StringSliceVar(&f.nodeIPs, "node-ip", nil, "addresses of this node, whose families are served (default: both families)")
	flags.StringSliceVar(&f.clusterCIDRs, "cluster-cidr", nil, "range of pods: clients from elsewhere are masqueraded")
	flags.StringSliceVar(&f.serviceCIDRs, "service-cidr", nil, "range of services: unused addresses of it are refused (default: the cluster's ServiceCIDRs)")
	flags.StringVar(&c.Detect, "detect-local-mode", node.DetectClusterCIDR, "how to tell pods from other clients: ClusterCIDR, NodeCIDR, BridgeInterface or InterfaceNamePrefix")
	flags.StringVar(&c.PodBridge, "pod-bridge-interface", "", "interface that pods' packets come in through, with BridgeInterface")
	flags.StringVar(&c.PodPrefix, "pod-interface-name-prefix", "", "beginning of the names of such interfaces, with InterfaceNamePrefix")
	flags.StringSliceVar(&f.nodePorts, "nodeport-addresses", nil, "ranges of the node's addresses at which node ports are served, or \"primary\" for the Node's own (default: all but loopback's, 127.0.0.0/8, which has to be named)")
	flags.BoolVar(&f.localhost, "iptables-localhost-nodeports", false, "serve node ports at 127.0.0.0/8 as well, with any backend")
	flags.BoolVar(&c.MasqueradeAll, "masquerade-all", false, "give every connection to a service this node's address as its source")
	c.IPVS = node.DefaultIPVS()
	flags.StringVar(&c.IPVS.Scheduler, "ipvs-scheduler", c.IPVS.Scheduler, "how the backend ipvs chooses an endpoint: "+strings.Join(node.Schedulers(), ", "))
	flags.DurationVar(&c.IPVS.Settings.TCP, "ipvs-tcp-timeout", c.IPVS.Settings.TCP, "how long IPVS remembers an idle connection; 0 leaves what it has")
	flags.DurationVar(&c.IPVS.Settings.TCPFin, "ipvs-tcpfin-timeout", 0, "the same of one that one side has closed")
	flags.DurationVar(&c.IPVS.Settings.UDP, "ipvs-udp-timeout", 0, "the same of UDP")
	c.Tracking = node.DefaultTracking()
	flags.IntVar(&c.Tracking.MaxPerCore, "conntrack-max-per-core", 32768, "how many connections the kernel is to track for each processor; a higher limit stays; 0 leaves what it has")
	flags.IntVar(&c.Tracking.Min, "conntrack-min", 131072, "and how many at least, unless --conntrack-max-per-core is 0")
	flags.DurationVar(&c.Tracking.TCPEstablished, "conntrack-tcp-timeout-established", c.Tracking.TCPEstablished, "how long the kernel remembers an idle connection; 0 leaves what it has")
	flags.DurationVar(&c.Tracking.TCPCloseWait, "conntrack-tcp-timeout-close-wait", c.Tracking.TCPCloseWait, "the same of one that one side has closed")
	flags.DurationVar(&c.Tracking.UDP, "conntrack-udp-timeout", 0, "the same of UDP without an answer")
	flags.DurationVar(&c.Tracking.UDPStream, "conntrack-udp-timeout-stream", 0, "the same of UDP with answers")
	flags.BoolVar(&c.Tracking.TCPLiberal, "conntrack-tcp-be-liberal", false, "TCP packets outside their window are not invalid")
	flags.StringVar(&c.HealthzAddress, "healthz-bind-address", "127.0.0.1:10256", "where to serve /healthz and /livez; load balancers need 0.0.0.0:10256; empty for nowhere")
	flags.StringVar(&c.MetricsAddress, "metrics-bind-address", "127.0.0.1:10249", "where to serve /metrics and /proxyMode; empty for nowhere")
	flags.StringVar(&c.RunDir, "run-dir", "/run/eastwest", "folder to leave in what the kernel has, so that the next start need not read it all; empty for none")
	flags.BoolVar(&c.Profiling, "profiling", false, "serve /debug/pprof beside the metrics")
	flags.BoolVar(&f.cleanup, "cleanup", false, "take away what proxies of every backend left on this node, and exit")
	flags.BoolVar(&f.verbose, "verbose", false, "log what is done, not only what is wrong")
	flags.VarPF(&f.level, "v", "v", "the same from 2 on, by kube-proxy's name: --v=2; alone it is 2").NoOptDefVal = strconv.Itoa(talkative)
}

func (f *proxyFlags) parse() error {
	c := &f.config
	switch {
	case f.cleanup:
		return nil
	case f.kubeconfig == "" && f.master == "":
		return errors.New("--kubeconfig is required")
	case c.Tracking.MaxPerCore < 0 || c.Tracking.Min < 0:
		return errors.New("--conntrack-max-per-core and --conntrack-min must not be negative")
	case c.Detect == node.DetectBridge && c.PodBridge == "":
		return errors.New("--detect-local-mode BridgeInterface needs --pod-bridge-interface")
	case c.Detect == node.DetectInterfacePrefix && c.PodPrefix == "":
		return errors.New("--detect-local-mode InterfaceNamePrefix needs --pod-interface-name-prefix")
	case !slices.Contains([]string{node.DetectClusterCIDR, node.DetectNodeCIDR, node.DetectBridge, node.DetectInterfacePrefix}, c.Detect):
		return fmt.Errorf("--detect-local-mode %s: use ClusterCIDR, NodeCIDR, BridgeInterface or InterfaceNamePrefix", c.Detect)
	}
	if err := errors.Join(node.CheckBackend(c.Backend), node.CheckScheduler(c.IPVS.Scheduler), f.checkDurations(),
		checkInterface("--pod-bridge-interface", c.PodBridge), checkInterface("--pod-interface-name-prefix", c.PodPrefix)); err != nil {
		return err
	}
	for flag, addr := range map[string]string{"--healthz-bind-address": c.HealthzAddress, "--metrics-bind-address": c.MetricsAddress} {
		if err := checkListen(flag, addr); err != nil {
			return err
		}
	}
	if c.NodeName == "" {
		hostname, _ := os.Hostname()
		c.NodeName = strings.ToLower(hostname)
	}
	return f.parseRanges()
}

// checkDurations says which the kernel cannot have.
func (f *proxyFlags) checkDurations() error {
	ipvs, tracking := f.config.IPVS.Settings, f.config.Tracking
	var errs []error
	for _, d := range []struct {
		flag string
		time.Duration
	}{
		{"--ipvs-tcp-timeout", ipvs.TCP},
		{"--ipvs-tcpfin-timeout", ipvs.TCPFin},
		{"--ipvs-udp-timeout", ipvs.UDP},
		{"--conntrack-tcp-timeout-established", tracking.TCPEstablished},
		{"--conntrack-tcp-timeout-close-wait", tracking.TCPCloseWait},
		{"--conntrack-udp-timeout", tracking.UDP},
		{"--conntrack-udp-timeout-stream", tracking.UDPStream},
	} {
		if d.Duration < 0 || d.Duration > math.MaxInt32*time.Second {
			errs = append(errs, fmt.Errorf("%s %s: use 0s, which leaves what the kernel has, to %s", d.flag, d.Duration, math.MaxInt32*time.Second))
		}
	}
	return errors.Join(errs...)
}

// checkInterface says what is wrong with the name of an interface, or its beginning; empty is none.
func checkInterface(flag, name string) error {
	if name == "" {
		return nil
	}
	if err := utils.ValidateInterfaceName(name); err != nil {
		return fmt.Errorf("%s %q: %s", flag, name, err.Msg)
	}
	if strings.ContainsAny(name, `"\*`) {
		return fmt.Errorf("%s %q: rules cannot name an interface with \" \\ or *", flag, name)
	}
	return nil
}

// checkListen says what is wrong with an address to listen at; empty is none.
func checkListen(flag, addr string) error {
	if _, _, err := net.SplitHostPort(addr); addr != "" && err != nil {
		return fmt.Errorf("%s: %w", flag, err)
	}
	return nil
}

func (f *proxyFlags) parseRanges() error {
	c := &f.config
	var err error
	if c.NodeIPs, err = flagvalue.Each("--node-ip", f.nodeIPs, netip.ParseAddr); err != nil {
		return err
	}
	if c.ClusterCIDRs, err = flagvalue.Each("--cluster-cidr", f.clusterCIDRs, netip.ParsePrefix); err != nil {
		return err
	}
	if c.ServiceCIDRs, err = flagvalue.Each("--service-cidr", f.serviceCIDRs, netip.ParsePrefix); err != nil {
		return err
	}
	if slices.Equal(f.nodePorts, []string{"primary"}) {
		c.PrimaryNodePort, c.Localhost = true, f.localhost
		return nil
	}
	if c.NodePortAddresses, err = flagvalue.Each("--nodeport-addresses", f.nodePorts, netip.ParsePrefix); err != nil || !f.localhost {
		return err
	}
	if len(c.NodePortAddresses) == 0 {
		c.NodePortAddresses = []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
	}
	c.NodePortAddresses = append(c.NodePortAddresses, dataplane.Loopback)
	return nil
}

func (f *proxyFlags) run(ctx context.Context) error {
	if f.cleanup {
		return node.RemoveProxy(ctx, f.config.NetworkConfig)
	}
	config, err := clientcmd.BuildConfigFromFlags(f.master, f.kubeconfig)
	if err != nil {
		return err
	}
	config.QPS, config.Burst = 50, 100
	if f.config.Client, err = client.New(config); err != nil {
		return err
	}
	return node.RunProxy(ctx, f.config)
}
