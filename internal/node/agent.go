// SPDX-License-Identifier: Apache-2.0

// Package node is everything of one node in one process: the kubelet role, the container runtime, the services, routes
// and names of the network. It composes them and nothing else; `eastwest agent` runs it.
//
//	join ─▶ identity ─▶ client ─┬▶ kubelet ─CRI─▶ runtime ─CNI─▶ plugins
//	                            └▶ network: watch ─▶ compile ─▶ services, names, routes, egress
package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"eastwest/internal/addressplan"
	"eastwest/internal/client"
	"eastwest/internal/compile"
	"eastwest/internal/cri"
	"eastwest/internal/cri/images"
	"eastwest/internal/cri/transfer"
	"eastwest/internal/join"
	"eastwest/internal/kubelet"
	"eastwest/internal/kubelet/image"
	"eastwest/internal/kubelet/shutdown"
)

// Config says what an agent needs to know.
type Config struct {
	Server        string     // https://HOST:PORT of the API server
	Token         join.Token // used once, to get the node's own certificate
	NodeName      string
	NodeIPs       []netip.Addr // at which the other nodes reach this one; the primary family first. Empty follows default routes
	StateDir      string       // /var/lib/eastwest
	RunDir        string       // /run/eastwest
	ClusterCIDRs  []netip.Prefix
	ServiceCIDRs  []netip.Prefix
	Domain        string
	Runtime       string            // CRI socket unix:///…; empty for the runtime in this process
	Images        map[string]string // built-in images: name → static program
	PauseImage    string            // made for another runtime's sandboxes; empty for none
	Mirrors       images.Mirrors    // asked for images before their registries
	CNI           string            // how pods are attached: CNIPTP, which is the default, or CNIBridge
	Overlay       compile.Overlay   // how the pods of other nodes are reached
	Backend       string            // of services, one of Backends; empty for the first
	Scheduler     string            // of IPVS, one of Schedulers; empty for the first
	CNIConfDir    string            // /etc/cni/net.d
	CNIBinDirs    []string          // /opt/cni/bin
	ResolvConf    string            // /etc/resolv.conf
	DNSConfig     string            // configuration of DNS, see docs/dns.md; empty for dns.yaml in StateDir
	CgroupRoot    string            // pods' cgroups are made below it
	StaticPods    string            // folder of manifests; manifests in StateDir when empty
	ImageAccess   image.Access      // whose images pods may use
	Eviction      kubelet.EvictionConfig
	Shutdown      shutdown.Periods // how long pods may take to end before the machine does
	PowerOff      <-chan os.Signal // tells that the machine goes down; may be nil
	UnsafeSysctls []string         // that pods may set beside the safe ones
	Labels        map[string]string
	KeepDNS       func(socket *os.File) error // starts the process of dns/keeper; nil for none
	Healthz       string                      // where the service proxy serves /healthz and /livez; empty for nowhere
	Metrics       string                      // the same of /metrics and /proxyMode
	Log           *slog.Logger
}

func (c Config) validate() error {
	var errs []error
	if problems := validation.IsDNS1123Subdomain(c.NodeName); len(problems) > 0 {
		errs = append(errs, fmt.Errorf("node name %q: %s", c.NodeName, problems[0]))
	}
	if len(c.ClusterCIDRs) == 0 || len(c.ServiceCIDRs) == 0 {
		errs = append(errs, errors.New("the ranges of pods and services are needed: --cluster-cidr and --service-cluster-ip-range"))
	}
	if len(c.NodeIPs) > 0 {
		errs = append(errs, c.checkFamilies("pods", "--cluster-cidr", c.ClusterCIDRs), c.checkFamilies("services", "--service-cluster-ip-range", c.ServiceCIDRs))
	}
	if c.CNI != "" && c.CNI != CNIPTP && c.CNI != CNIBridge {
		errs = append(errs, fmt.Errorf("--cni %q: expected %s or %s", c.CNI, CNIPTP, CNIBridge))
	}
	if c.Backend != "" {
		errs = append(errs, CheckBackend(c.Backend), CheckKernel(c.Backend))
	}
	return errors.Join(errs...)
}

// checkFamilies refuses addresses of a family that this node has none of: nobody could reach them, nor they anybody.
func (c Config) checkFamilies(what, flag string, ranges []netip.Prefix) error {
	for _, one := range ranges {
		if !slices.ContainsFunc(c.NodeIPs, func(own netip.Addr) bool { return own.Is6() == one.Addr().Is6() }) {
			return fmt.Errorf("%s have %s addresses (%s %s), but this node has none: give one more with --node-ip, or other ranges",
				what, familyName(one), flag, one)
		}
	}
	return nil
}

func familyName(of netip.Prefix) string {
	if of.Addr().Is6() {
		return "IPv6"
	}
	return "IPv4"
}

func (c Config) criSocket() string { return filepath.Join(c.RunDir, "cri.sock") }

// dnsAddresses returns the virtual IPs of the cluster's DNS.
func (c Config) dnsAddresses() []netip.Addr { return addressplan.DNS(c.ServiceCIDRs) }

// Run runs the node until ctx ends or a part of it fails. Pods, routes and services stay as they are.
func Run(ctx context.Context, config Config) error {
	if err := config.validate(); err != nil {
		return fmt.Errorf("configure agent: %w", err)
	}
	for _, dir := range []string{config.StateDir, config.RunDir} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("make folder of the agent: %w", err)
		}
	}
	if len(config.NodeIPs) == 0 {
		return follow(ctx, config)
	}
	return run(ctx, config)
}

// run runs the node at its addresses.
func run(ctx context.Context, config Config) error {
	a := &agent{Config: config, imagesThere: make(chan struct{})}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	a.ctx, a.fail = ctx, cancel
	a.start("CNI plugins", a.servePlugins)
	// The runtime needs no API server: it opens while the node joins.
	if config.Runtime == "" {
		close(a.imagesThere)
		a.start("container runtime", a.runRuntime)
	} else {
		a.start("built-in images", a.giveImages)
	}
	if err := a.join(); err != nil {
		cancel(err)
	}
	a.running.Wait()
	if a.identity != nil {
		// Connections from an address that the node no longer has would be used again until they time out.
		a.identity.dialer.CloseAll()
	}
	return failure(ctx)
}

// failure returns why ctx ended, unless it ended because the caller wanted it to.
func failure(ctx context.Context) error {
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// agent is a running node.
type agent struct {
	Config
	ctx      context.Context
	fail     context.CancelCauseFunc
	running  sync.WaitGroup
	identity *identity
	client   *client.Client
	pods     podNamespaces
	// imagesThere is closed when another runtime has the images that come with the agent.
	imagesThere chan struct{}
}

// start runs a part until the agent ends; when the part ends first, the agent ends.
func (a *agent) start(name string, run func(context.Context) error) {
	a.running.Go(func() {
		if err := run(a.ctx); err != nil && a.ctx.Err() == nil {
			a.fail(fmt.Errorf("run %s: %w", name, err))
		}
	})
}

func (a *agent) runRuntime(ctx context.Context) error {
	if err := a.addImages(ctx); err != nil {
		return err
	}
	server, err := cri.New(ctx, cri.Config{
		Root: filepath.Join(a.StateDir, "cri"), State: filepath.Join(a.RunDir, "cri"),
		CNIConfDir: a.CNIConfDir, CNIBinDirs: a.CNIBinDirs, NetnsDir: "/run/netns", Mirrors: a.Mirrors, Log: a.Log.With("part", "cri"),
	})
	if err != nil {
		return err
	}
	return server.Serve(ctx, a.criSocket())
}

// addImages puts the built-in images into the runtime's store.
func (a *agent) addImages(ctx context.Context) error {
	if len(a.Images) == 0 {
		return nil
	}
	store, err := images.Open(filepath.Join(a.StateDir, "cri"))
	if err != nil {
		return err
	}
	for name, program := range a.Images {
		if err := store.AddBinary(ctx, name, program, v1.Config{}); err != nil {
			return err
		}
	}
	return nil
}

// giveImages puts the built-in images into another runtime's store. A runtime that is away, or goes meanwhile, must not end the agent.
func (a *agent) giveImages(ctx context.Context) error {
	for len(a.Images) > 0 || a.PauseImage != "" {
		err := a.giveImagesOnce(ctx)
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		a.Log.WarnContext(ctx, "the container runtime lacks the built-in images, will retry", "err", err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(imagesRetry):
		}
	}
	close(a.imagesThere)
	return nil
}

// imagesRetry is the pause after a runtime that took an image not.
const imagesRetry = time.Second

func (a *agent) giveImagesOnce(ctx context.Context) error {
	store, err := transfer.Open(ctx, a.Runtime)
	if err != nil {
		return err
	}
	if a.PauseImage != "" {
		if err := store.AddPause(ctx, a.PauseImage, runtime.GOARCH); err != nil {
			return err
		}
	}
	for name, program := range a.Images {
		if err := store.AddBinary(ctx, name, program); err != nil {
			return err
		}
	}
	return nil
}

// join gets the node's certificates and starts every part that talks to the API.
func (a *agent) join() error {
	var err error
	dir := filepath.Join(a.StateDir, "agent", "pki")
	if a.identity, err = joinCluster(a.ctx, dir, a.Config); err != nil {
		return err
	}
	if a.client, err = client.New(a.identity.restConfig()); err != nil {
		return err
	}
	a.start("certificate renewal", func(ctx context.Context) error { return a.identity.renew(ctx, a.client) })
	network, err := a.startNetwork()
	if err != nil {
		return err
	}
	a.start("rules of pods", a.keepPodRules)
	a.start("pod network", func(ctx context.Context) error { return a.configureCNI(ctx, network) })
	return a.startKubelet()
}
