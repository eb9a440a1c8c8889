// SPDX-License-Identifier: Apache-2.0

package cri

import (
	"cmp"
	"context"
	"slices"
	"strings"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// ListPodSandbox lists sandboxes, the newest first.
func (s *Server) ListPodSandbox(_ context.Context, req *runtimeapi.ListPodSandboxRequest) (*runtimeapi.ListPodSandboxResponse, error) {
	return &runtimeapi.ListPodSandboxResponse{Items: s.listSandboxes(req.GetFilter())}, nil
}

// StreamPodSandboxes sends what ListPodSandbox answers in pieces.
func (s *Server) StreamPodSandboxes(req *runtimeapi.StreamPodSandboxesRequest, stream runtimeapi.RuntimeService_StreamPodSandboxesServer) error {
	for part := range slices.Chunk(s.listSandboxes(req.GetFilter()), streamPart) {
		if err := stream.Send(&runtimeapi.StreamPodSandboxesResponse{PodSandboxes: part}); err != nil {
			return err
		}
	}
	return nil
}

// streamPart is how many objects one message of a stream has.
const streamPart = 100

func (s *Server) listSandboxes(f *runtimeapi.PodSandboxFilter) []*runtimeapi.PodSandbox {
	var out []*runtimeapi.PodSandbox
	for _, rec := range s.sandboxRecordsInMemory() {
		if f.GetState() != nil && f.GetState().GetState() != sandboxState(rec) {
			continue
		}
		if !strings.HasPrefix(rec.ID, f.GetId()) || !selects(f.GetLabelSelector(), rec.Config.GetLabels()) {
			continue
		}
		out = append(out, &runtimeapi.PodSandbox{
			Id: rec.ID, Metadata: rec.Config.GetMetadata(), State: sandboxState(rec), CreatedAt: rec.Created.UnixNano(),
			Labels: rec.Config.GetLabels(), Annotations: rec.Config.GetAnnotations(), RuntimeHandler: rec.Handler,
		})
	}
	slices.SortFunc(out, func(a, b *runtimeapi.PodSandbox) int { return cmp.Compare(b.GetCreatedAt(), a.GetCreatedAt()) })
	return out
}

func (s *Server) sandboxRecordsInMemory() []sandboxRecord {
	s.mu.Lock()
	all := make([]*sandbox, 0, len(s.sandboxes))
	for _, b := range s.sandboxes {
		all = append(all, b)
	}
	s.mu.Unlock()
	out := make([]sandboxRecord, 0, len(all))
	for _, b := range all {
		out = append(out, b.record())
	}
	return out
}

func (s *Server) containerRecordsInMemory() []containerRecord {
	s.mu.Lock()
	all := make([]*container, 0, len(s.containers))
	for _, c := range s.containers {
		all = append(all, c)
	}
	s.mu.Unlock()
	out := make([]containerRecord, 0, len(all))
	for _, c := range all {
		if rec := c.record(); rec.State != stateCreating {
			out = append(out, rec)
		}
	}
	return out
}

// ListContainers lists containers, the newest first.
func (s *Server) ListContainers(_ context.Context, req *runtimeapi.ListContainersRequest) (*runtimeapi.ListContainersResponse, error) {
	return &runtimeapi.ListContainersResponse{Containers: s.listContainers(req.GetFilter())}, nil
}

// StreamContainers sends what ListContainers answers in pieces.
func (s *Server) StreamContainers(req *runtimeapi.StreamContainersRequest, stream runtimeapi.RuntimeService_StreamContainersServer) error {
	for part := range slices.Chunk(s.listContainers(req.GetFilter()), streamPart) {
		if err := stream.Send(&runtimeapi.StreamContainersResponse{Containers: part}); err != nil {
			return err
		}
	}
	return nil
}

func (s *Server) listContainers(f *runtimeapi.ContainerFilter) []*runtimeapi.Container {
	var out []*runtimeapi.Container
	for _, rec := range s.containerRecordsInMemory() {
		if f.GetState() != nil && f.GetState().GetState() != criState(rec.State) {
			continue
		}
		if !strings.HasPrefix(rec.ID, f.GetId()) || !strings.HasPrefix(rec.SandboxID, f.GetPodSandboxId()) || !selects(f.GetLabelSelector(), rec.Config.GetLabels()) {
			continue
		}
		out = append(out, &runtimeapi.Container{
			Id: rec.ID, PodSandboxId: rec.SandboxID, Metadata: rec.Config.GetMetadata(), Image: rec.Config.GetImage(),
			ImageRef: rec.ImageRef, ImageId: rec.ImageID, State: criState(rec.State), CreatedAt: rec.Created.UnixNano(),
			Labels: rec.Config.GetLabels(), Annotations: rec.Config.GetAnnotations(),
		})
	}
	slices.SortFunc(out, func(a, b *runtimeapi.Container) int { return cmp.Compare(b.GetCreatedAt(), a.GetCreatedAt()) })
	return out
}

// selects reports whether labels have every pair of the selector.
func selects(selector, labels map[string]string) bool {
	for k, v := range selector {
		if have, ok := labels[k]; !ok || have != v {
			return false
		}
	}
	return true
}
