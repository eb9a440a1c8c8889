// SPDX-License-Identifier: Apache-2.0

package cri

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"eastwest/internal/cri/images"
	"eastwest/internal/cri/ocispec"
	"eastwest/internal/cri/rootfs"
	"eastwest/internal/cri/seccomp"
)

// cleanupTimeout bounds cleaning up, which goes on when the request that needs it was given up.
const cleanupTimeout = time.Minute

// CreateContainer mounts a container's file system and decides its specification. No process is started yet.
func (s *Server) CreateContainer(ctx context.Context, req *runtimeapi.CreateContainerRequest) (*runtimeapi.CreateContainerResponse, error) {
	if err := ocispec.Validate(req.GetConfig()); err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	b, err := s.sandbox(req.GetPodSandboxId())
	if err != nil {
		return nil, err
	}
	sb := b.record()
	if !sb.Ready {
		return nil, status.Errorf(codes.FailedPrecondition, "sandbox container %q is not running", sb.ID)
	}
	img, err := s.images.Get(req.GetConfig().GetImage().GetImage())
	if err != nil {
		return nil, status.Errorf(codes.NotFound, "image %q of container %s is not in the store: pull or load it first", req.GetConfig().GetImage().GetImage(), req.GetConfig().GetMetadata().GetName())
	}
	c, err := s.registerContainer(req, sb, img)
	if err != nil {
		return nil, err
	}
	c.op.Lock()
	defer c.op.Unlock()
	if err := s.makeContainer(ctx, c, sb, img); err != nil {
		err = fmt.Errorf("failed to create container %s: %w", req.GetConfig().GetMetadata().GetName(), err)
		return nil, errors.Join(err, s.removeContainer(context.WithoutCancel(ctx), c))
	}
	s.emit(c.rec.ID, sb.ID, runtimeapi.ContainerEventType_CONTAINER_CREATED_EVENT)
	return &runtimeapi.CreateContainerResponse{ContainerId: c.rec.ID}, nil
}

// registerContainer enters a new container, refusing a second one of the same name and attempt in the pod.
func (s *Server) registerContainer(req *runtimeapi.CreateContainerRequest, sb sandboxRecord, img images.Image) (*container, error) {
	cfg := req.GetConfig()
	id := newID()
	c := &container{exited: make(chan struct{}), rec: containerRecord{
		ID: id, SandboxID: sb.ID, Handler: sb.Handler, Config: cfg, State: stateCreating, ImageID: img.ID, ImageRef: imageRef(img),
		CgroupsPath: filepath.Join(s.parentGroup(sb.Config), id), Created: time.Now(), StopSignal: img.Config.StopSignal,
		SharedPID: sharedPID(cfg), Resources: cfg.GetLinux().GetResources(),
	}}
	if logs := sb.Config.GetLogDirectory(); logs != "" && cfg.GetLogPath() != "" {
		c.rec.LogPath = filepath.Join(logs, cfg.GetLogPath())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.sandboxes[sb.ID] == nil {
		return nil, fmt.Errorf("pod sandbox %q: %w", sb.ID, errNotFound)
	}
	for _, other := range s.containers {
		m := other.rec.Config.GetMetadata() // never changes
		if other.rec.SandboxID == sb.ID && m.GetName() == cfg.GetMetadata().GetName() && m.GetAttempt() == cfg.GetMetadata().GetAttempt() {
			return nil, status.Errorf(codes.AlreadyExists, "container %s, attempt %d, exists already in sandbox %s: %s", m.GetName(), m.GetAttempt(), sb.ID, other.rec.ID)
		}
	}
	if err := saveFirst(filepath.Join(s.containerRecords(), id), c.rec); err != nil {
		return nil, err
	}
	s.containers[id] = c
	return c, nil
}

// makeContainer prepares everything that starting needs. The caller holds op.
func (s *Server) makeContainer(ctx context.Context, c *container, sb sandboxRecord, img images.Image) error {
	rec := c.record()
	if err := s.images.Pin(rec.ID, img); err != nil {
		return err
	}
	root := s.rootfsOf(rec.ID)
	if err := rootfs.Mount(root, s.images.LayerDirs(img), filepath.Join(s.containerRecords(), rec.ID)); err != nil {
		return err
	}
	in, err := s.specInput(rec, sb, img, root)
	if err != nil {
		return err
	}
	spec, err := ocispec.Build(in)
	if err != nil {
		return err
	}
	sc := rec.Config.GetLinux().GetSecurityContext()
	spec.Linux.Seccomp, err = seccomp.For(seccompProfile(sc), sc.GetPrivileged(), spec.Process.Capabilities.Bounding)
	if err != nil {
		return err
	}
	raw, err := json.Marshal(spec)
	if err != nil {
		return fmt.Errorf("encode specification: %w", err)
	}
	if err := os.WriteFile(filepath.Join(s.bundle(rec.ID), "config.json"), raw, 0o600); err != nil {
		return fmt.Errorf("write specification: %w", err)
	}
	return s.changeContainer(c, func(r *containerRecord) {
		r.State, r.UID, r.GID, r.Groups = stateCreated, in.User.UID, in.User.GID, in.User.Groups
	})
}

func (s *Server) rootfsOf(id string) string { return filepath.Join(s.bundle(id), "rootfs") }

// parentGroup is the cgroup below which a pod's containers have theirs.
func (s *Server) parentGroup(cfg *runtimeapi.PodSandboxConfig) string {
	if parent := cfg.GetLinux().GetCgroupParent(); parent != "" {
		return parent
	}
	return s.cfg.CgroupParent
}

func sharedPID(cfg *runtimeapi.ContainerConfig) bool {
	options := cfg.GetLinux().GetSecurityContext().GetNamespaceOptions()
	return options != nil && options.GetPid() != runtimeapi.NamespaceMode_CONTAINER
}

// imageRef is how an image is called in a container's status: by what one can pull again, if there is such a name.
func imageRef(img images.Image) string {
	if len(img.Digests) > 0 {
		return img.Digests[0]
	}
	return img.ID
}
