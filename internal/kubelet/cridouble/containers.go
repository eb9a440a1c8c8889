// SPDX-License-Identifier: Apache-2.0

package cridouble

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// CreateContainer makes a container in a sandbox that is ready.
func (r runtimeService) CreateContainer(_ context.Context, q *runtimeapi.CreateContainerRequest) (*runtimeapi.CreateContainerResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s := r.sandboxes[q.GetPodSandboxId()]; s == nil || !s.ready {
		return nil, notFound("sandbox", q.GetPodSandboxId())
	}
	r.serial++
	c := &container{id: fmt.Sprintf("container%04d", r.serial), sandbox: q.GetPodSandboxId(), config: q.GetConfig(), created: time.Now().UnixNano()}
	r.containers[c.id] = c
	return &runtimeapi.CreateContainerResponse{ContainerId: c.id}, nil
}

// StartContainer makes it run.
func (r runtimeService) StartContainer(_ context.Context, q *runtimeapi.StartContainerRequest) (*runtimeapi.StartContainerResponse, error) {
	r.mu.Lock()
	c := r.containers[q.GetContainerId()]
	if c == nil || c.state != runtimeapi.ContainerState_CONTAINER_CREATED {
		r.mu.Unlock()
		return nil, status.Errorf(codes.FailedPrecondition, "container %q cannot be started", q.GetContainerId())
	}
	c.state, c.started = runtimeapi.ContainerState_CONTAINER_RUNNING, time.Now().UnixNano()
	started := r.OnStart
	r.mu.Unlock()
	r.tell(c, runtimeapi.ContainerEventType_CONTAINER_STARTED_EVENT)
	if started != nil {
		started(c.id, c.config.GetMetadata().GetName())
	}
	return &runtimeapi.StartContainerResponse{}, nil
}

// StopContainer ends it with 143, at once.
func (r runtimeService) StopContainer(_ context.Context, q *runtimeapi.StopContainerRequest) (*runtimeapi.StopContainerResponse, error) {
	r.mu.Lock()
	c := r.containers[q.GetContainerId()]
	r.grace = q.GetTimeout()
	stopping := r.OnStop
	r.mu.Unlock()
	if c == nil {
		return nil, notFound("container", q.GetContainerId())
	}
	if stopping != nil {
		stopping(c.config.GetLabels()["io.kubernetes.pod.name"], q.GetTimeout())
	}
	r.end(c, 143, "Error")
	return &runtimeapi.StopContainerResponse{}, nil
}

// RemoveContainer forgets it.
func (r runtimeService) RemoveContainer(_ context.Context, q *runtimeapi.RemoveContainerRequest) (*runtimeapi.RemoveContainerResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.containers, q.GetContainerId())
	return &runtimeapi.RemoveContainerResponse{}, nil
}

// ListContainers lists by labels.
func (r runtimeService) ListContainers(_ context.Context, q *runtimeapi.ListContainersRequest) (*runtimeapi.ListContainersResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := &runtimeapi.ListContainersResponse{}
	for _, c := range r.containers {
		if selected(c.config.GetLabels(), q.GetFilter().GetLabelSelector()) {
			out.Containers = append(out.Containers, &runtimeapi.Container{Id: c.id, PodSandboxId: c.sandbox, Metadata: c.config.GetMetadata(),
				State: c.state, CreatedAt: c.created, Labels: c.config.GetLabels(), Annotations: c.config.GetAnnotations()})
		}
	}
	return out, nil
}

// ContainerStatus answers one container.
func (r runtimeService) ContainerStatus(_ context.Context, q *runtimeapi.ContainerStatusRequest) (*runtimeapi.ContainerStatusResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.containers[q.GetContainerId()]
	if c == nil {
		return nil, notFound("container", q.GetContainerId())
	}
	log := ""
	if s := r.sandboxes[c.sandbox]; s != nil {
		log = filepath.Join(s.config.GetLogDirectory(), c.config.GetLogPath())
	}
	return &runtimeapi.ContainerStatusResponse{Status: &runtimeapi.ContainerStatus{Id: c.id, Metadata: c.config.GetMetadata(), State: c.state,
		CreatedAt: c.created, StartedAt: c.started, FinishedAt: c.finished, ExitCode: c.code, Reason: c.reason,
		Image: c.config.GetImage(), ImageRef: c.config.GetImage().GetImage(), Labels: c.config.GetLabels(),
		Annotations: c.config.GetAnnotations(), Mounts: c.config.GetMounts(), LogPath: log}}, nil
}

// UpdateContainerResources remembers them.
func (r runtimeService) UpdateContainerResources(_ context.Context, q *runtimeapi.UpdateContainerResourcesRequest) (*runtimeapi.UpdateContainerResourcesResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.containers[q.GetContainerId()]
	if c == nil || c.state != runtimeapi.ContainerState_CONTAINER_RUNNING {
		return nil, notFound("running container", q.GetContainerId())
	}
	c.config.Linux.Resources = q.GetLinux()
	return &runtimeapi.UpdateContainerResourcesResponse{}, nil
}

// ContainerStats says that a container uses 64 MiB.
func (r runtimeService) ContainerStats(context.Context, *runtimeapi.ContainerStatsRequest) (*runtimeapi.ContainerStatsResponse, error) {
	return &runtimeapi.ContainerStatsResponse{Stats: &runtimeapi.ContainerStats{
		Memory: &runtimeapi.MemoryUsage{UsageBytes: &runtimeapi.UInt64Value{Value: 64 << 20}}}}, nil
}

// ExecSync answers by OnExec.
func (r runtimeService) ExecSync(_ context.Context, q *runtimeapi.ExecSyncRequest) (*runtimeapi.ExecSyncResponse, error) {
	r.mu.Lock()
	c, exec := r.containers[q.GetContainerId()], r.OnExec
	r.mu.Unlock()
	if c == nil || c.state != runtimeapi.ContainerState_CONTAINER_RUNNING {
		return nil, notFound("running container", q.GetContainerId())
	}
	if exec == nil {
		return &runtimeapi.ExecSyncResponse{}, nil
	}
	output, code := exec(c.config.GetMetadata().GetName(), q.GetCmd())
	return &runtimeapi.ExecSyncResponse{Stdout: []byte(output), ExitCode: code}, nil
}
