// SPDX-License-Identifier: Apache-2.0

package nodecmd

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"eastwest/internal/cli/flagvalue"
	"eastwest/internal/compile"
	"eastwest/internal/cri/images"
	"eastwest/internal/join"
	"eastwest/internal/kubelet"
	"eastwest/internal/kubelet/image"
	"eastwest/internal/kubelet/shutdown"
	"eastwest/internal/node"
)

// agentFlags are what a person writes; parse makes a configuration of it.
type agentFlags struct {
	config                              node.Config
	token, tokenFile                    string
	nodeIPs, clusterCIDRs, serviceCIDRs []string
	images, mirrors                     []string
	overlay                             string
	shutdown, critical                  time.Duration
	byPriority                          []string
	verification                        string
	verbose                             bool
}

func newAgent(s Streams) *cobra.Command {
	f := &agentFlags{}
	cmd := &cobra.Command{
		Use:   "agent --server URL --token-file FILE",
		Short: "Run a node: kubelet, container runtime, service proxy, routes and DNS",
		Long: `Run everything of one node in one process. The first time, the node joins with the token that the server wrote to
its data folder and gets a certificate of its own; later it needs no token. Pods go on when the agent stops.

With --shutdown-grace-period, pods end before the machine does: systemd-logind says when, and waits. Where there is no logind, SIGPWR makes
the agent end the pods, and then itself.`,
		Example: `  eastwest agent --server https://192.0.2.10:6443 --token-file token --node-ip 192.0.2.11`,
		Args:    arguments(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.parse(); err != nil {
				return usageError{err}
			}
			f.config.Log, f.config.KeepDNS = logger(s, f.verbose), startDNSKeeper
			ctx, stop := signal.NotifyContext(cmd.Context(), unix.SIGTERM, unix.SIGINT)
			defer stop()
			power := make(chan os.Signal, 1)
			signal.Notify(power, unix.SIGPWR)
			defer signal.Stop(power)
			f.config.PowerOff = power
			return node.Run(ctx, f.config)
		},
	}
	flags := cmd.Flags()
	c := &f.config
	hostname, _ := os.Hostname()
	flags.StringVar(&c.Server, "server", "", "URL of the API server (required)")
	flags.StringVar(&f.token, "token", "", "join token; better in a file, for a command line can be seen by others")
	flags.StringVar(&f.tokenFile, "token-file", "", "file with the join token")
	flags.StringVar(&c.NodeName, "node-name", strings.ToLower(hostname), "name of the Node")
	flags.StringSliceVar(&f.nodeIPs, "node-ip", nil, "address at which other nodes reach this one; two for dual stack (default: that of the default route, followed when it changes)")
	flags.StringVar(&c.StateDir, "state-dir", "/var/lib/eastwest", "folder for what outlives a restart of the machine")
	flags.StringVar(&c.RunDir, "run-dir", "/run/eastwest", "folder for what does not")
	flags.StringSliceVar(&f.clusterCIDRs, "cluster-cidr", []string{"10.244.0.0/16"}, "range of pods; two, of both families, for dual stack, as the server has them")
	flags.StringSliceVar(&f.serviceCIDRs, "service-cluster-ip-range", []string{"10.96.0.0/12"}, "range of services; two, of both families, for dual stack, as the server has them")
	flags.StringVar(&c.Domain, "cluster-domain", "cluster.local", "domain of the cluster's DNS")
	flags.StringVar(&c.Runtime, "cri", "", "socket of another container runtime, unix:///run/containerd/containerd.sock say (default: the built-in one)")
	f.imageFlags(flags)
	flags.StringVar(&c.CNI, "cni", node.CNIPTP, "how pods are attached: ptp (a veth each, routed) or bridge (all on br0)")
	flags.StringVar(&f.overlay, "overlay", string(compile.OverlayNone), "how other nodes' pods are reached: none (nodes share a network), vxlan, or auto (vxlan to nodes behind a router)")
	flags.StringVar(&c.Backend, "backend", node.Backends()[0], "what carries the services: "+strings.Join(node.Backends(), " or ")+"; what another one left is taken away")
	flags.StringVar(&c.Scheduler, "ipvs-scheduler", node.Schedulers()[0], "how the backend ipvs chooses an endpoint: "+strings.Join(node.Schedulers(), ", "))
	flags.StringVar(&c.Healthz, "healthz-bind-address", "127.0.0.1:10256", "where to serve the service proxy's /healthz and /livez; load balancers need 0.0.0.0:10256; empty for nowhere")
	flags.StringVar(&c.Metrics, "metrics-bind-address", "127.0.0.1:10249", "where to serve the service proxy's /metrics and /proxyMode; empty for nowhere")
	flags.StringVar(&c.CNIConfDir, "cni-conf-dir", "/etc/cni/net.d", "folder of CNI configuration")
	flags.StringSliceVar(&c.CNIBinDirs, "cni-bin-dir", []string{"/opt/cni/bin"}, "folder of CNI plugins")
	flags.StringVar(&c.StaticPods, "pod-manifest-path", "", "folder of manifests of static pods, which this node runs by itself (default: manifests in --state-dir)")
	flags.StringVar(&c.ResolvConf, "resolv-conf", "/etc/resolv.conf", "the node's resolvers, for names outside the cluster")
	flags.StringVar(&c.DNSConfig, "dns-config", "", "file with upstreams, stub zones, hosts and rewrites, taken over when it changes (default: dns.yaml in --state-dir, if there)")
	flags.StringSliceVar(&c.UnsafeSysctls, "allowed-unsafe-sysctls", nil, "sysctls that pods may set beside the safe ones; kernel.msg* stands for all that begin so")
	f.endings(flags)
	flags.StringVar(&c.CgroupRoot, "cgroup-root", "", "cgroup below which pods get theirs (default: the root)")
	flags.StringToStringVar(&c.Labels, "node-labels", nil, "labels of the Node when it is registered, KEY=VALUE")
	flags.BoolVarP(&f.verbose, "verbose", "v", false, "log what is done, not only what is wrong")
	return cmd
}

// imageFlags are the flags that say where images come from, and for whom they are.
func (f *agentFlags) imageFlags(flags *pflag.FlagSet) {
	c := &f.config
	flags.StringVar(&c.PauseImage, "pause-image", "", "with --cri: the image that the runtime starts pods from, made by the agent; the runtime's configuration has to name it (default: none is made)")
	flags.StringArrayVar(&f.images, "builtin-image", nil, "image made from a static program, NAME=FILE")
	flags.StringArrayVar(&f.mirrors, "registry-mirror", nil, "host that the built-in runtime asks for images before their registry, REGISTRY=URL; several are asked in turn")
	flags.StringVar(&f.verification, "image-pull-credentials-verification-policy", string(image.NeverVerifyPreloadedImages), "which images that are on the node a pod needs credentials for: NeverVerify, NeverVerifyPreloadedImages (all but those that nobody pulled), NeverVerifyAllowlistedImages or AlwaysVerify")
	flags.StringSliceVar(&c.ImageAccess.Allowlist, "preloaded-images-verification-allowlist", nil, "images of NeverVerifyAllowlistedImages, NAME or PREFIX/*")
}

// endings are the flags that say when pods end for the node's sake.
func (f *agentFlags) endings(flags *pflag.FlagSet) {
	c := &f.config
	flags.StringVar(&c.Eviction.Hard, "eviction-hard", kubelet.DefaultEvictionHard, "what has to stay free on the node, SIGNAL<QUANTITY or SIGNAL<PERCENT; else pods are evicted")
	flags.StringVar(&c.Eviction.Soft, "eviction-soft", "", "what should stay free on the node, as --eviction-hard says it; pods are evicted when it was not for --eviction-soft-grace-period")
	flags.StringVar(&c.Eviction.SoftGrace, "eviction-soft-grace-period", "", "for how long each signal of --eviction-soft may be short, SIGNAL=DURATION")
	flags.Int32Var(&c.Eviction.MaxPod, "eviction-max-pod-grace-period", 0, "how many seconds pods may take to end that are evicted by --eviction-soft, if they have no less")
	flags.DurationVar(&c.Eviction.Transition, "eviction-pressure-transition-period", 5*time.Minute, "for how long the node says that it is under pressure after it was")
	flags.DurationVar(&f.shutdown, "shutdown-grace-period", 0, "how long pods may take to end before the machine goes down; 0s: they end with it")
	flags.DurationVar(&f.critical, "shutdown-grace-period-critical-pods", 0, "the last part of --shutdown-grace-period, which is left to critical pods")
	flags.StringSliceVar(&f.byPriority, "shutdown-grace-period-by-pod-priority", nil, "instead of those two: how long pods of a priority, and those up to the next one's, may take, PRIORITY=DURATION")
}

func (f *agentFlags) parse() error {
	if f.config.Server == "" {
		return errors.New("--server is required: the URL of the API server")
	}
	var err error
	if f.config.NodeIPs, err = flagvalue.Each("--node-ip", f.nodeIPs, netip.ParseAddr); err != nil {
		return err
	}
	if f.config.ClusterCIDRs, err = flagvalue.Each("--cluster-cidr", f.clusterCIDRs, netip.ParsePrefix); err != nil {
		return err
	}
	if f.config.ServiceCIDRs, err = flagvalue.Each("--service-cluster-ip-range", f.serviceCIDRs, netip.ParsePrefix); err != nil {
		return err
	}
	if f.config.Overlay, err = compile.ParseOverlay(f.overlay); err != nil {
		return fmt.Errorf("--overlay: %w", err)
	}
	if err := errors.Join(node.CheckBackend(f.config.Backend), node.CheckScheduler(f.config.Scheduler)); err != nil {
		return err
	}
	if err := checkListen("--healthz-bind-address", f.config.Healthz); err != nil {
		return err
	}
	if err := checkListen("--metrics-bind-address", f.config.Metrics); err != nil {
		return err
	}
	f.config.ImageAccess.Policy = image.Verification(f.verification)
	if err := f.config.ImageAccess.Check(); err != nil {
		return fmt.Errorf("--image-pull-credentials-verification-policy: %w", err)
	}
	if f.config.Mirrors, err = images.ParseMirrors(f.mirrors); err != nil {
		return fmt.Errorf("--registry-mirror: %w", err)
	}
	if f.config.Shutdown, err = shutdown.ParsePeriods(f.shutdown, f.critical, f.byPriority); err != nil {
		return fmt.Errorf("--shutdown-grace-period: %w", err)
	}
	f.config.Images = map[string]string{}
	for _, image := range f.images {
		name, file, ok := strings.Cut(image, "=")
		if !ok {
			return fmt.Errorf("--builtin-image %q: expected NAME=FILE", image)
		}
		f.config.Images[name] = file
	}
	return f.parseToken()
}

func (f *agentFlags) parseToken() error {
	text := f.token
	if f.tokenFile != "" {
		if f.token != "" {
			return errors.New("give --token or --token-file, not both")
		}
		data, err := os.ReadFile(f.tokenFile)
		if err != nil {
			return fmt.Errorf("--token-file: %w", err)
		}
		text = string(data)
	}
	if text == "" {
		return nil
	}
	var err error
	f.config.Token, err = join.Parse(text)
	return err
}
