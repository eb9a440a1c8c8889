// SPDX-License-Identifier: Apache-2.0

// Package node tells the API about this node: it registers the Node object (again when somebody deletes it), keeps its status true and its
// Lease fresh.
package node

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"eastwest/internal/client"
	"eastwest/internal/kubelet/events"
)

// Config says what the node is.
type Config struct {
	Name    string
	IPs     []netip.Addr
	Labels  map[string]string
	Taints  []corev1.Taint
	MaxPods int
	Port    int32  // of the kubelet's server
	RootDir string // whose file system is the node's
	Version string // of the kubelet, as in v1.36.3
	Client  *client.Client
	Runtime runtimeapi.RuntimeServiceClient
	Images  runtimeapi.ImageServiceClient
	Events  *events.Recorder
	Log     *slog.Logger
	// Under reports whether the node is under a kind of pressure.
	Under func(kind corev1.NodeConditionType) bool
	// ShuttingDown reports whether the node's machine goes down.
	ShuttingDown func() bool
}

// Reporter keeps the Node object and its Lease. Safe for concurrent use.
type Reporter struct {
	config   Config
	capacity corev1.ResourceList
	mu       sync.Mutex
	last     []corev1.NodeCondition
	runtime  string
	version  string
	uid      string
	object   *corev1.Node // as last heard of
	offer    offer
	told     offer // what the API was told of it
	again    chan struct{}
}

// unknown is the name of a runtime that has not answered.
const unknown = "unknown"

// New makes a reporter; Run reports.
func New(config Config) *Reporter {
	return &Reporter{config: config, capacity: capacity(config.RootDir, config.MaxPods), runtime: unknown, again: make(chan struct{}, 1)}
}

// Capacity returns what the node has. Callers must not change it.
func (r *Reporter) Capacity() corev1.ResourceList { return r.capacity }

// Allocatable returns what pods may use. Callers must not change it.
func (r *Reporter) Allocatable() corev1.ResourceList { return r.capacity }

// runtimeName returns the runtime's name as it gave it, "unknown" before it answered for the first time.
func (r *Reporter) runtimeName() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.runtime
}

// Run reports until ctx ends.
func (r *Reporter) Run(ctx context.Context) {
	var group sync.WaitGroup
	group.Go(func() { r.keepStatus(ctx) })
	group.Go(func() { r.keepLease(ctx) })
	group.Go(func() { r.watch(ctx) })
	group.Wait()
}
