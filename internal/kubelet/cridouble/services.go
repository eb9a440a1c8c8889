// SPDX-License-Identifier: Apache-2.0

package cridouble

import (
	"context"
	"fmt"
	"maps"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// runtimeService and imageService keep the two halves of CRI apart: both have unimplemented methods of the same names.
type runtimeService struct {
	runtimeapi.UnimplementedRuntimeServiceServer
	*Runtime
}

type imageService struct {
	runtimeapi.UnimplementedImageServiceServer
	r *Runtime
}

func selected(labels, selector map[string]string) bool {
	for k, v := range selector {
		if labels[k] != v {
			return false
		}
	}
	return true
}

// Version names the runtime.
func (r runtimeService) Version(context.Context, *runtimeapi.VersionRequest) (*runtimeapi.VersionResponse, error) {
	return &runtimeapi.VersionResponse{RuntimeName: "double", RuntimeVersion: "1.0", RuntimeApiVersion: "v1"}, nil
}

// Status tells whether runtime and network are ready.
func (r runtimeService) Status(context.Context, *runtimeapi.StatusRequest) (*runtimeapi.StatusResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	network := &runtimeapi.RuntimeCondition{Type: runtimeapi.NetworkReady, Status: r.network}
	if !r.network {
		network.Reason, network.Message = "NetworkPluginNotReady", "cni plugin not initialized"
	}
	return &runtimeapi.StatusResponse{Status: &runtimeapi.RuntimeStatus{Conditions: []*runtimeapi.RuntimeCondition{
		{Type: runtimeapi.RuntimeReady, Status: true}, network}}}, nil
}

// RunPodSandbox makes a sandbox with an address of its own.
func (r runtimeService) RunPodSandbox(_ context.Context, q *runtimeapi.RunPodSandboxRequest) (*runtimeapi.RunPodSandboxResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.serial++
	s := &sandbox{id: fmt.Sprintf("sandbox%04d", r.serial), handler: q.GetRuntimeHandler(), config: q.GetConfig(), ready: true, created: time.Now().UnixNano()}
	if q.GetConfig().GetLinux().GetSecurityContext().GetNamespaceOptions().GetNetwork() == runtimeapi.NamespaceMode_POD {
		s.ip = fmt.Sprintf("127.10.%d.%d", r.serial/250, r.serial%250+1)
	}
	r.sandboxes[s.id] = s
	return &runtimeapi.RunPodSandboxResponse{PodSandboxId: s.id}, nil
}

// Handlers lists the runtime handlers of the sandboxes of a pod.
func (r *Runtime) Handlers(pod string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for _, s := range r.sandboxes {
		if s.config.GetMetadata().GetName() == pod {
			out = append(out, s.handler)
		}
	}
	return out
}

// StopPodSandbox ends the sandbox and its containers.
func (r runtimeService) StopPodSandbox(_ context.Context, q *runtimeapi.StopPodSandboxRequest) (*runtimeapi.StopPodSandboxResponse, error) {
	r.mu.Lock()
	var inside []*container
	if s := r.sandboxes[q.GetPodSandboxId()]; s != nil {
		s.ready = false
	}
	for _, c := range r.containers {
		if c.sandbox == q.GetPodSandboxId() && c.state == runtimeapi.ContainerState_CONTAINER_RUNNING {
			inside = append(inside, c)
		}
	}
	r.mu.Unlock()
	for _, c := range inside {
		r.end(c, 137, "Error")
	}
	return &runtimeapi.StopPodSandboxResponse{}, nil
}

// RemovePodSandbox forgets the sandbox and its containers.
func (r runtimeService) RemovePodSandbox(_ context.Context, q *runtimeapi.RemovePodSandboxRequest) (*runtimeapi.RemovePodSandboxResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.sandboxes, q.GetPodSandboxId())
	maps.DeleteFunc(r.containers, func(_ string, c *container) bool { return c.sandbox == q.GetPodSandboxId() })
	return &runtimeapi.RemovePodSandboxResponse{}, nil
}

// ListPodSandbox lists by labels.
func (r runtimeService) ListPodSandbox(_ context.Context, q *runtimeapi.ListPodSandboxRequest) (*runtimeapi.ListPodSandboxResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := &runtimeapi.ListPodSandboxResponse{}
	for _, s := range r.sandboxes {
		if selected(s.config.GetLabels(), q.GetFilter().GetLabelSelector()) {
			out.Items = append(out.Items, &runtimeapi.PodSandbox{Id: s.id, Metadata: s.config.GetMetadata(), State: s.state(),
				CreatedAt: s.created, Labels: s.config.GetLabels(), Annotations: s.config.GetAnnotations()})
		}
	}
	return out, nil
}

func (s *sandbox) state() runtimeapi.PodSandboxState {
	if s.ready {
		return runtimeapi.PodSandboxState_SANDBOX_READY
	}
	return runtimeapi.PodSandboxState_SANDBOX_NOTREADY
}

// PodSandboxStatus answers one sandbox.
func (r runtimeService) PodSandboxStatus(_ context.Context, q *runtimeapi.PodSandboxStatusRequest) (*runtimeapi.PodSandboxStatusResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.sandboxes[q.GetPodSandboxId()]
	if s == nil {
		return nil, notFound("sandbox", q.GetPodSandboxId())
	}
	return &runtimeapi.PodSandboxStatusResponse{Status: &runtimeapi.PodSandboxStatus{Id: s.id, Metadata: s.config.GetMetadata(), State: s.state(),
		CreatedAt: s.created, Network: &runtimeapi.PodSandboxNetworkStatus{Ip: s.ip}, Labels: s.config.GetLabels(), Annotations: s.config.GetAnnotations()}}, nil
}

// GetContainerEvents streams what happens.
func (r runtimeService) GetContainerEvents(_ *runtimeapi.GetEventsRequest, stream runtimeapi.RuntimeService_GetContainerEventsServer) error {
	events := make(chan *runtimeapi.ContainerEventResponse, 1000)
	r.mu.Lock()
	r.listeners[events] = true
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		delete(r.listeners, events)
		r.mu.Unlock()
	}()
	for {
		select {
		case <-stream.Context().Done():
			return nil
		case e := <-events:
			if err := stream.Send(e); err != nil {
				return err
			}
		}
	}
}

// ImageStatus answers an image, or nothing.
func (i imageService) ImageStatus(_ context.Context, q *runtimeapi.ImageStatusRequest) (*runtimeapi.ImageStatusResponse, error) {
	i.r.mu.Lock()
	defer i.r.mu.Unlock()
	name := q.GetImage().GetImage()
	if !i.r.images[name] {
		return &runtimeapi.ImageStatusResponse{}, nil
	}
	return &runtimeapi.ImageStatusResponse{Image: &runtimeapi.Image{Id: name, RepoTags: []string{name}, Size: 1}}, nil
}

// PullImage has what AddImage made available, and nothing else.
func (i imageService) PullImage(_ context.Context, q *runtimeapi.PullImageRequest) (*runtimeapi.PullImageResponse, error) {
	i.r.mu.Lock()
	defer i.r.mu.Unlock()
	name := q.GetImage().GetImage()
	if password, private := i.r.private[name]; private {
		if q.GetAuth().GetPassword() != password {
			return nil, status.Errorf(codes.Unknown, "pull access denied for %s", name)
		}
		i.r.images[name] = true
	}
	if !i.r.images[name] {
		return nil, status.Errorf(codes.NotFound, "failed to resolve image %q: not found", name)
	}
	return &runtimeapi.PullImageResponse{ImageRef: name}, nil
}
