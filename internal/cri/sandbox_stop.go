// SPDX-License-Identifier: Apache-2.0

package cri

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"eastwest/internal/cri/rootfs"
	"eastwest/internal/cri/sandboxns"
)

// StopPodSandbox ends the pod's containers and gives back its network. It may be called again at any time.
func (s *Server) StopPodSandbox(ctx context.Context, req *runtimeapi.StopPodSandboxRequest) (*runtimeapi.StopPodSandboxResponse, error) {
	b, err := s.sandbox(req.GetPodSandboxId())
	if errors.Is(err, errNotFound) {
		return &runtimeapi.StopPodSandboxResponse{}, nil
	}
	if err != nil {
		return nil, err
	}
	b.op.Lock()
	defer b.op.Unlock()
	wasReady := b.record().Ready
	if err := s.stopSandbox(ctx, b); err != nil {
		return nil, fmt.Errorf("failed to stop sandbox %s: %w", b.record().ID, err)
	}
	if wasReady {
		s.emit(b.rec.ID, b.rec.ID, runtimeapi.ContainerEventType_CONTAINER_STOPPED_EVENT)
	}
	return &runtimeapi.StopPodSandboxResponse{}, nil
}

// stopSandbox undoes what makeSandbox does, in reverse, each step as far as it was ever done. The caller holds op.
func (s *Server) stopSandbox(ctx context.Context, b *sandbox) error {
	rec := b.record()
	for _, c := range s.containersOf(rec.ID) {
		if err := s.stopContainer(ctx, c, 0); err != nil {
			return fmt.Errorf("stop container %s: %w", c.rec.ID, err)
		}
	}
	if err := s.stopPause(rec); err != nil {
		return err
	}
	if rec.Attached {
		if err := s.net.Remove(ctx, podOf(rec), rec.CNIConf); err != nil {
			return err
		}
		s.noteSandbox(b, func(r *sandboxRecord) { r.Attached = false })
	}
	if err := sandboxns.Remove(s.namespacesOf(rec)); err != nil {
		return err
	}
	if err := rootfs.Unmount(filepath.Join(s.sandboxDir(rec.ID), "shm")); err != nil {
		return err
	}
	if rec.Ready {
		s.noteSandbox(b, func(r *sandboxRecord) { r.Ready = false })
	}
	return nil
}

// RemovePodSandbox stops a sandbox where needed and removes all that is left of it and its containers.
func (s *Server) RemovePodSandbox(ctx context.Context, req *runtimeapi.RemovePodSandboxRequest) (*runtimeapi.RemovePodSandboxResponse, error) {
	b, err := s.sandbox(req.GetPodSandboxId())
	if errors.Is(err, errNotFound) {
		return &runtimeapi.RemovePodSandboxResponse{}, nil
	}
	if err != nil {
		return nil, err
	}
	b.op.Lock()
	defer b.op.Unlock()
	if err := s.discardSandbox(ctx, b); err != nil {
		return nil, fmt.Errorf("failed to remove sandbox %s: %w", b.record().ID, err)
	}
	s.emit(b.rec.ID, b.rec.ID, runtimeapi.ContainerEventType_CONTAINER_DELETED_EVENT)
	return &runtimeapi.RemovePodSandboxResponse{}, nil
}

// discardSandbox stops and forgets a sandbox; the record goes last. The caller holds op.
func (s *Server) discardSandbox(ctx context.Context, b *sandbox) error {
	if err := s.stopSandbox(ctx, b); err != nil {
		return err
	}
	id := b.record().ID
	for _, c := range s.containersOf(id) {
		if err := s.removeContainer(ctx, c); err != nil {
			return err
		}
	}
	for _, dir := range []string{s.sandboxDir(id), filepath.Join(s.sandboxRecords(), id)} {
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("remove sandbox folder: %w", err)
		}
	}
	s.mu.Lock()
	delete(s.sandboxes, id)
	s.mu.Unlock()
	return nil
}
