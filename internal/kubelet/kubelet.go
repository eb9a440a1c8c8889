// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"eastwest/internal/kubelet/cgroup"
	"eastwest/internal/kubelet/criclient"
	"eastwest/internal/kubelet/environment"
	"eastwest/internal/kubelet/events"
	"eastwest/internal/kubelet/eviction"
	"eastwest/internal/kubelet/image"
	"eastwest/internal/kubelet/metrics"
	"eastwest/internal/kubelet/node"
	"eastwest/internal/kubelet/objects"
	"eastwest/internal/kubelet/pod"
	"eastwest/internal/kubelet/probe"
	"eastwest/internal/kubelet/render"
	"eastwest/internal/kubelet/server"
	"eastwest/internal/kubelet/shutdown"
	"eastwest/internal/kubelet/static"
	"eastwest/internal/kubelet/stats"
	"eastwest/internal/kubelet/status"
	"eastwest/internal/kubelet/volume"

	corev1 "k8s.io/api/core/v1"
)

// Kubelet runs the pods of one node.
type Kubelet struct {
	config   Config
	cri      *criclient.Client
	metrics  *metrics.Metrics
	cgroups  *cgroup.Manager
	events   *events.Recorder
	services *objects.Services
	node     *node.Reporter
	pods     *pod.Manager
	static   *static.Source
	volumes  *volume.Manager
	eviction *eviction.Manager
	shutdown *shutdown.Manager
	listener net.Listener

	assembled atomic.Bool   // pods is there
	listed    chan struct{} // closed when the API's first full list of pods has been handed on
}

// New checks the configuration and opens the server's port. Nothing is started.
func New(config Config) (*Kubelet, error) {
	if err := config.complete(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(config.RootDir, 0o750); err != nil {
		return nil, fmt.Errorf("make the kubelet's directory: %w", err)
	}
	k := &Kubelet{config: config, services: objects.NewServices(config.Client), listed: make(chan struct{})}
	k.metrics = metrics.New(config.NodeName, k.counts)
	var err error
	if k.cgroups, err = cgroup.Discover(config.CgroupMount); err != nil {
		return nil, err
	}
	if k.listener, err = net.Listen("tcp", config.Listen); err != nil {
		return nil, fmt.Errorf("open the kubelet's port %s: %w", config.Listen, err)
	}
	if k.cri, err = criclient.Dial(config.RuntimeEndpoint, config.ImageEndpoint, k.metrics.Intercept); err != nil {
		return nil, err
	}
	k.cri.IPv6First = config.NodeIPs[0].Is6()
	if k.eviction, err = k.watchOver(); err != nil {
		return nil, err
	}
	k.shutdown = k.watchMachine()
	k.events = events.New(config.Client, "kubelet", config.NodeName, config.Log)
	k.node = node.New(node.Config{
		Name: config.NodeName, IPs: config.NodeIPs, Labels: config.Labels, Taints: config.Taints, MaxPods: config.MaxPods,
		Port: port(k.listener), RootDir: config.RootDir, Version: Version, Client: config.Client, Runtime: k.cri.Runtime, Images: k.cri.Images,
		Events: k.events, Log: config.Log, Under: k.eviction.Under, ShuttingDown: k.shutdown.ShuttingDown})
	return k, nil
}

// Address is where the server listens.
func (k *Kubelet) Address() net.Addr { return k.listener.Addr() }

// Run works until ctx ends. Pods go on. It returns an error only when the server cannot serve.
func (k *Kubelet) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	k.assemble(ctx)
	k.assembled.Store(true)
	var group sync.WaitGroup
	group.Go(func() { k.events.Run(ctx) })
	group.Go(func() { k.services.Run(ctx) })
	group.Go(func() { k.node.Run(ctx) })
	group.Go(func() { k.watchPods(ctx) })
	group.Go(func() { k.static.Run(ctx) })
	group.Go(func() { k.watchRuntime(ctx) })
	group.Go(func() { k.collect(ctx) })
	group.Go(func() { k.eviction.Run(ctx) })
	group.Go(func() { k.rotateLogs(ctx) })
	group.Go(func() { k.followMachine(ctx) })
	err := k.server().Serve(ctx, k.listener)
	cancel()
	group.Wait()
	k.pods.Wait()
	if closeErr := k.cri.Close(); err == nil {
		err = closeErr
	}
	return err
}

// assemble makes the parts that live as long as ctx.
func (k *Kubelet) assemble(ctx context.Context) {
	c := k.config
	cache := objects.NewCache(ctx, c.Client, func(uid string) { k.pods.Retry(uid) })
	k.volumes = volume.New(volume.Config{RootDir: c.RootDir, Objects: cache, Tokens: volume.NewTokens(c.Client), Facts: k.facts})
	k.pods = pod.NewManager(ctx, pod.Config{
		CRI: k.cri, Runtime: k.cri.RuntimeName, Allocatable: k.node.Allocatable, Place: k.node.Object, Preempted: k.metrics.Preempted,
		Classes: objects.NewRuntimeClasses(c.Client), SupplementalGroups: k.node.SupplementalGroups, RecursiveReadOnly: k.node.RecursiveReadOnly,
		Node:      k.renderNode(),
		Resolver:  func() render.Resolver { return render.ParseResolver(text(c.ResolvConf)) },
		NodeHosts: func() string { return text("/etc/hosts") },
		Volumes:   k.volumes, Objects: cache, Services: k.services, Events: k.events, Client: c.Client, Cgroups: k.cgroups, Log: c.Log,
		Images: image.New(k.cri.Images, k.events, c.ImageAccess, c.Log),
		Probes: probe.New(ctx, k.cri.Exec, k.events, func(uid string) { k.pods.Wake(uid) }),
		Status: status.NewPublisher(ctx, c.Client, k.shownAs, c.Log), UnsafeSysctls: c.UnsafeSysctls, Refuse: k.refuse,
		Listed: k.listed,
	})
	k.static = k.staticPods()
	k.static.Start()
}

func (k *Kubelet) renderNode() render.Node {
	c, capacity := k.config, k.node.Capacity()
	return render.Node{Name: c.NodeName, IPs: c.NodeIPs, ClusterDNS: c.ClusterDNS, ClusterDomain: c.ClusterDomain, LogDir: c.LogDir,
		SeccompDir: filepath.Join(c.RootDir, "seccomp"), CgroupRoot: c.CgroupRoot, MemoryBytes: capacity.Memory().Value(), CPUs: capacity.Cpu().Value()}
}

// text returns a file's text, or nothing where it cannot be read: a node without resolv.conf is a node without resolver.
func text(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return string(data)
}

// facts answers the downward API of volumes.
func (k *Kubelet) facts(p *corev1.Pod) environment.Facts {
	f := environment.Facts{NodeName: k.config.NodeName, Allocatable: k.node.Allocatable()}
	for _, ip := range k.config.NodeIPs {
		f.HostIPs = append(f.HostIPs, ip.String())
	}
	for _, ip := range p.Status.PodIPs {
		f.PodIPs = append(f.PodIPs, ip.IP)
	}
	return f
}

func (k *Kubelet) server() *server.Server {
	source := stats.Source{Node: k.config.NodeName, RootDir: k.config.RootDir, Runtime: k.cri.Runtime, Started: time.Now(), StartOf: k.startOf}
	return server.New(server.Config{
		NodeName: k.config.NodeName, Certificate: k.config.ServingCertificate, ClientCA: k.config.ClientCA, Client: k.config.Client,
		Runtime: k.cri.Runtime, Pods: k.pods, Metrics: k.metrics.Handler(), Resource: metrics.Serve(stats.Resource{Source: source}), Log: k.config.Log,
		Summary: func(ctx context.Context) (any, error) { return source.Summary(ctx) },
		Configz: k.configz, Healthy: func() error { return nil },
	})
}

func (k *Kubelet) startOf(uid, container string) time.Time {
	if v, ok := k.pods.ByUID(uid); ok {
		if c := v.State.Latest(container); c != nil {
			return c.Started
		}
	}
	return time.Time{}
}

func (k *Kubelet) configz() any {
	c := k.config
	return map[string]any{"kind": "KubeletConfiguration", "apiVersion": "kubelet.config.k8s.io/v1beta1", "clusterDomain": c.ClusterDomain,
		"clusterDNS": c.ClusterDNS, "maxPods": c.MaxPods, "staticPodPath": c.StaticPodPath, "containerRuntimeEndpoint": c.RuntimeEndpoint,
		"cgroupDriver": "cgroupfs", "cgroupRoot": c.CgroupRoot, "resolvConf": c.ResolvConf,
		"shutdownGracePeriodByPodPriority": periods(c.Shutdown)}
}

func (k *Kubelet) counts() metrics.Counts {
	out := metrics.Counts{Containers: map[string]int{}}
	if k.pods == nil {
		return out
	}
	for _, v := range k.pods.Views() {
		if v.State.ReadySandbox() != nil {
			out.Pods++
		}
		for i := range v.State.Containers {
			out.Containers[stateName(&v.State.Containers[i])]++
		}
	}
	return out
}
