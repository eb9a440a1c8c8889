// SPDX-License-Identifier: Apache-2.0

package cri

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"eastwest/internal/cri/network"
	"eastwest/internal/cri/rootfs"
	"eastwest/internal/cri/sandboxns"
)

// shmSize is the size of a pod's /dev/shm, as other runtimes have it.
const shmSize = 64 << 20

// RunPodSandbox makes a pod's namespaces and connects its network. After an error nothing of it is left.
func (s *Server) RunPodSandbox(ctx context.Context, req *runtimeapi.RunPodSandboxRequest) (*runtimeapi.RunPodSandboxResponse, error) {
	if err := validateSandbox(req); err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	if err := s.checkHandler(req.GetRuntimeHandler()); err != nil {
		return nil, status.Error(codes.InvalidArgument, err.Error())
	}
	b := &sandbox{rec: sandboxRecord{ID: newID(), Config: req.GetConfig(), Handler: req.GetRuntimeHandler(), Created: time.Now()}}
	if !hostNetwork(req.GetConfig()) {
		b.rec.NetNS = filepath.Join(s.cfg.NetnsDir, "cni-"+newUUID())
		b.rec.Attached = true // as soon as it is tried, there may be something to undo
	}
	b.op.Lock()
	defer b.op.Unlock()
	if err := s.register(b); err != nil {
		return nil, err
	}
	if err := s.makeSandbox(ctx, b); err != nil {
		err = fmt.Errorf("failed to create pod sandbox %s: %w", podName(b.rec.Config), err)
		return nil, errors.Join(err, s.discardSandbox(context.WithoutCancel(ctx), b))
	}
	s.emit(b.rec.ID, b.rec.ID, runtimeapi.ContainerEventType_CONTAINER_CREATED_EVENT)
	s.emit(b.rec.ID, b.rec.ID, runtimeapi.ContainerEventType_CONTAINER_STARTED_EVENT)
	return &runtimeapi.RunPodSandboxResponse{PodSandboxId: b.rec.ID}, nil
}

func validateSandbox(req *runtimeapi.RunPodSandboxRequest) error {
	meta := req.GetConfig().GetMetadata()
	switch {
	case meta == nil || meta.GetName() == "" || meta.GetNamespace() == "":
		return errors.New("sandbox config must include metadata with name and namespace")
	case len(meta.GetUid()) > 253 || len(meta.GetName()) > 253 || len(meta.GetNamespace()) > 253:
		return errors.New("sandbox metadata: name, namespace and uid may have 253 characters")
	case len(req.GetConfig().GetHostname()) > 64:
		return fmt.Errorf("hostname %q is longer than 64 characters", req.GetConfig().GetHostname())
	}
	if userns := namespaceOptions(req.GetConfig()).GetUsernsOptions(); userns.GetMode() == runtimeapi.NamespaceMode_POD && userns != nil {
		return errors.New("user namespaces are not supported by this runtime")
	}
	return nil
}

// register enters a new sandbox, refusing a second one of the same pod and attempt.
func (s *Server) register(b *sandbox) error {
	meta := b.rec.Config.GetMetadata()
	s.mu.Lock()
	for id, other := range s.sandboxes {
		m := other.rec.Config.GetMetadata() // never changes
		if m.GetName() == meta.GetName() && m.GetNamespace() == meta.GetNamespace() && m.GetUid() == meta.GetUid() && m.GetAttempt() == meta.GetAttempt() {
			s.mu.Unlock()
			return status.Errorf(codes.AlreadyExists, "sandbox of pod %s, attempt %d, exists already: %s", podName(b.rec.Config), meta.GetAttempt(), id)
		}
	}
	s.sandboxes[b.rec.ID] = b
	s.mu.Unlock()
	if err := saveFirst(filepath.Join(s.sandboxRecords(), b.rec.ID), b.rec); err != nil {
		s.mu.Lock()
		delete(s.sandboxes, b.rec.ID)
		s.mu.Unlock()
		return err
	}
	return nil
}

func (s *Server) makeSandbox(ctx context.Context, b *sandbox) error {
	rec := b.record()
	if err := sandboxns.Create(s.namespacesOf(rec)); err != nil {
		return err
	}
	if err := s.sandboxFiles(rec); err != nil {
		return err
	}
	addrs, conf, err := s.connect(ctx, rec)
	if err != nil {
		return err
	}
	if pidMode(rec.Config) == runtimeapi.NamespaceMode_POD {
		if err := s.startPause(ctx, b); err != nil {
			return err
		}
	}
	return s.changeSandbox(b, func(r *sandboxRecord) { r.Addrs, r.CNIConf, r.Ready = addrs, conf, true })
}

// namespacesOf says which namespaces a sandbox has of its own.
func (s *Server) namespacesOf(rec sandboxRecord) sandboxns.Config {
	cfg := sandboxns.Config{Net: rec.NetNS, Sysctls: rec.Config.GetLinux().GetSysctls()}
	dir := filepath.Join(s.sandboxDir(rec.ID), "ns")
	if namespaceOptions(rec.Config).GetIpc() != runtimeapi.NamespaceMode_NODE {
		cfg.IPC = filepath.Join(dir, "ipc")
	}
	if rec.NetNS != "" {
		cfg.UTS = filepath.Join(dir, "uts")
		cfg.Hostname = rec.Config.GetHostname()
	}
	return cfg
}

// sandboxFiles makes the files that all containers of the pod get, and their shared memory.
func (s *Server) sandboxFiles(rec sandboxRecord) error {
	dir := s.sandboxDir(rec.ID)
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return fmt.Errorf("make folder of sandbox: %w", err)
	}
	if err := writeSandboxFiles(dir, rec.Config); err != nil {
		return err
	}
	if namespaceOptions(rec.Config).GetIpc() == runtimeapi.NamespaceMode_NODE {
		return nil
	}
	return rootfs.Tmpfs(filepath.Join(dir, "shm"), shmSize)
}

// connect returns the pod's addresses, and the configuration that gave them.
func (s *Server) connect(ctx context.Context, rec sandboxRecord) ([]netip.Addr, []byte, error) {
	if rec.NetNS == "" {
		return nil, nil, nil
	}
	addrs, conf, err := s.net.Add(ctx, podOf(rec))
	if errors.Is(err, network.ErrNotReady) {
		err = fmt.Errorf("failed to setup network for sandbox: %w", err)
	}
	return addrs, conf, err
}
