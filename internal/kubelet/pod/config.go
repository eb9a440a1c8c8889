// SPDX-License-Identifier: Apache-2.0

// Package pod runs pods: one worker for each, which compares what the pod's object asks for with what the runtime holds, carries out
// the next steps, and reports. Workers wait for events (the API's, the runtime's, probes', objects'); nothing polls.
//
//	event → observe (CRI) → status → plan → one operation at a time → event …
package pod

import (
	"context"
	"log/slog"

	corev1 "k8s.io/api/core/v1"

	"eastwest/internal/client"
	"eastwest/internal/kubelet/cgroup"
	"eastwest/internal/kubelet/criclient"
	"eastwest/internal/kubelet/events"
	"eastwest/internal/kubelet/image"
	"eastwest/internal/kubelet/objects"
	"eastwest/internal/kubelet/probe"
	"eastwest/internal/kubelet/render"
	"eastwest/internal/kubelet/status"
	"eastwest/internal/kubelet/volume"
)

// Config holds the parts that workers use. All are required except Cgroups: without it, only the runtime makes control groups.
type Config struct {
	CRI         *criclient.Client
	Runtime     func() string // the runtime's name, the scheme of container ids
	Node        render.Node
	Resolver    func() render.Resolver // the node's own, read anew for each pod
	NodeHosts   func() string          // the node's /etc/hosts
	Allocatable func() corev1.ResourceList
	Place       func(ctx context.Context, ask bool) *corev1.Node // the node's object, as last heard or as asked for; nil when not known
	Volumes     *volume.Manager
	Objects     *objects.Cache
	Services    *objects.Services
	Classes     *objects.RuntimeClasses
	Images      *image.Puller
	Probes      *probe.Manager
	Events      *events.Recorder
	Status      *status.Publisher
	Cgroups     *cgroup.Manager
	Client      *client.Client
	Log         *slog.Logger
	Listed      <-chan struct{} // closed when the manager has been told of all pods that the API had at first

	// Refuse says why the node takes no such pod now, or nothing: it is short of something, or shutting down.
	Refuse             func(pod *corev1.Pod, bestEffort bool) (reason, message string)
	SupplementalGroups func() bool                                 // whether the runtime can do without the image's groups
	RecursiveReadOnly  func(handler string) bool                   // whether a handler of the runtime can make a mount read-only with what is below it
	Preempted          func(missing corev1.ResourceName, pods int) // counts pods that end for a critical one; required
	UnsafeSysctls      []string                                    // that pods may set beside the safe ones; a name that ends in * stands for all that begin so
}
