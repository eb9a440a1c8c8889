// SPDX-License-Identifier: Apache-2.0

package cri

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	goruntime "runtime"

	"github.com/opencontainers/runtime-spec/specs-go"

	"eastwest/internal/cri/pause"
	"eastwest/internal/cri/runner"
)

// pauseRunnable describes the sandbox's own process to the runner; its id is the sandbox's.
func (s *Server) pauseRunnable(rec sandboxRecord) runner.Container {
	return runner.Container{ID: rec.ID, Bundle: filepath.Join(s.sandboxDir(rec.ID), "pause")}
}

// startPause starts the process whose namespace the pod's containers share.
func (s *Server) startPause(ctx context.Context, b *sandbox) error {
	rec := b.record()
	run := s.pauseRunnable(rec)
	if err := pause.Write(filepath.Join(run.Bundle, "rootfs", "pause"), goruntime.GOARCH); err != nil {
		return err
	}
	raw, err := json.Marshal(s.pauseSpec(rec))
	if err != nil {
		return fmt.Errorf("encode specification of pause process: %w", err)
	}
	if err := os.WriteFile(filepath.Join(run.Bundle, "config.json"), raw, 0o600); err != nil {
		return fmt.Errorf("write specification of pause process: %w", err)
	}
	pid, _, err := s.runnerOf(rec.Handler).Create(ctx, run)
	if err != nil {
		return fmt.Errorf("make shared process namespace: %w", err)
	}
	start, err := runner.StartTime(pid)
	if err != nil {
		return err
	}
	if err := s.runnerOf(rec.Handler).Start(ctx, rec.ID, pid); err != nil {
		return fmt.Errorf("make shared process namespace: %w", err)
	}
	return s.changeSandbox(b, func(r *sandboxRecord) { r.PausePID, r.PauseStart = pid, start })
}

func (s *Server) pauseGroup(rec sandboxRecord) string {
	return filepath.Join(s.parentGroup(rec.Config), rec.ID)
}

// pauseSpec gives the process nothing but its namespaces.
func (s *Server) pauseSpec(rec sandboxRecord) *specs.Spec {
	score := max(-998, s.node.OOMScoreAdj)
	ns := []specs.LinuxNamespace{{Type: specs.MountNamespace}, {Type: specs.PIDNamespace}}
	own := s.namespacesOf(rec)
	for kind, path := range map[specs.LinuxNamespaceType]string{
		specs.NetworkNamespace: own.Net, specs.IPCNamespace: own.IPC, specs.UTSNamespace: own.UTS,
	} {
		if path != "" {
			ns = append(ns, specs.LinuxNamespace{Type: kind, Path: path})
		}
	}
	return &specs.Spec{
		Version: "1.0.2",
		Process: &specs.Process{
			Args: []string{"/pause"}, Cwd: "/", User: specs.User{UID: 65535, GID: 65535},
			NoNewPrivileges: true, OOMScoreAdj: &score, Capabilities: &specs.LinuxCapabilities{},
		},
		Root: &specs.Root{Path: "rootfs", Readonly: true},
		Mounts: []specs.Mount{
			{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
			{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "mode=755", "size=65536k"}},
		},
		Linux: &specs.Linux{
			CgroupsPath: s.pauseGroup(rec), Namespaces: ns,
			Resources: &specs.LinuxResources{Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}},
		},
	}
}

// stopPause ends the sandbox's process, whatever stage it is in; a sandbox without one is no error.
func (s *Server) stopPause(rec sandboxRecord) error {
	ctx, cancel := context.WithTimeout(context.Background(), cleanupTimeout)
	defer cancel()
	run := s.pauseRunnable(rec)
	if _, err := os.Stat(run.Bundle); err != nil {
		return nil
	}
	if err := s.runnerOf(rec.Handler).Delete(ctx, rec.ID); err != nil {
		return fmt.Errorf("end shared process namespace: %w", err)
	}
	if err := s.runnerOf(rec.Handler).Forget(run); err != nil {
		return err
	}
	return s.cgroups.Empty(s.pauseGroup(rec))
}
