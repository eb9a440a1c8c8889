// SPDX-License-Identifier: Apache-2.0

package cri

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"runtime/debug"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"eastwest/internal/cri/ocispec"
)

// Version names the runtime; nodes show it as eastwest://VERSION.
func (s *Server) Version(context.Context, *runtimeapi.VersionRequest) (*runtimeapi.VersionResponse, error) {
	return &runtimeapi.VersionResponse{
		Version: "0.1.0", RuntimeName: "eastwest", RuntimeVersion: buildVersion(), RuntimeApiVersion: "v1",
	}, nil
}

// buildVersion is the program's, as the Go tool recorded it; a build from a work tree has only its commit.
func buildVersion() string {
	info, ok := debug.ReadBuildInfo()
	if ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "0.0.0"
}

// Status says whether pods can be run: the runtime always, the network once it has a configuration.
func (s *Server) Status(_ context.Context, req *runtimeapi.StatusRequest) (*runtimeapi.StatusResponse, error) {
	network := &runtimeapi.RuntimeCondition{Type: runtimeapi.NetworkReady, Status: true}
	if err := s.net.Ready(); err != nil {
		network.Status, network.Reason = false, "NetworkPluginNotReady"
		network.Message = "Network plugin returns error: " + err.Error()
	}
	features := &runtimeapi.RuntimeHandlerFeatures{RecursiveReadOnlyMounts: true}
	resp := &runtimeapi.StatusResponse{
		Status: &runtimeapi.RuntimeStatus{Conditions: []*runtimeapi.RuntimeCondition{
			{Type: runtimeapi.RuntimeReady, Status: true}, network,
		}},
		RuntimeHandlers: []*runtimeapi.RuntimeHandler{{Features: features}},
		Features:        &runtimeapi.RuntimeFeatures{SupplementalGroupsPolicy: true},
	}
	for _, name := range slices.Sorted(maps.Keys(s.runners)) {
		resp.RuntimeHandlers = append(resp.RuntimeHandlers, &runtimeapi.RuntimeHandler{Name: name, Features: features})
	}
	if !req.GetVerbose() {
		return resp, nil
	}
	s.mu.Lock()
	cidr := s.podCIDR
	s.mu.Unlock()
	var err error
	resp.Info, err = info(map[string]any{
		"root": s.cfg.Root, "state": s.cfg.State, "cniConfDir": s.cfg.CNIConfDir, "cniBinDirs": s.cfg.CNIBinDirs,
		"runcVersion": s.version, "podCIDR": cidr, "unifiedCgroups": s.node.UnifiedCgroups, "capabilities": s.node.Capabilities,
	})
	return resp, err
}

// UpdateRuntimeConfig takes the node's pod CIDR, which Status shows. Pods are addressed by the CNI configuration.
func (s *Server) UpdateRuntimeConfig(_ context.Context, req *runtimeapi.UpdateRuntimeConfigRequest) (*runtimeapi.UpdateRuntimeConfigResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.podCIDR = req.GetRuntimeConfig().GetNetworkConfig().GetPodCidr()
	return &runtimeapi.UpdateRuntimeConfigResponse{}, nil
}

// RuntimeConfig tells the kubelet which way cgroups are named.
func (s *Server) RuntimeConfig(context.Context, *runtimeapi.RuntimeConfigRequest) (*runtimeapi.RuntimeConfigResponse, error) {
	return &runtimeapi.RuntimeConfigResponse{Linux: &runtimeapi.LinuxRuntimeConfiguration{CgroupDriver: runtimeapi.CgroupDriver_CGROUPFS}}, nil
}

// CheckpointContainer is refused: the runtime is not built with CRIU.
func (s *Server) CheckpointContainer(_ context.Context, req *runtimeapi.CheckpointContainerRequest) (*runtimeapi.CheckpointContainerResponse, error) {
	return nil, status.Errorf(codes.Unimplemented, "checkpoint container %s: this runtime does not support checkpoints", req.GetContainerId())
}

// reopenTimeout bounds the wait for the monitor to have opened the new log file.
const reopenTimeout = 5 * time.Second

// ReopenContainerLog makes the monitor write to a new file under the log's name, after the old one was moved away.
func (s *Server) ReopenContainerLog(ctx context.Context, req *runtimeapi.ReopenContainerLogRequest) (*runtimeapi.ReopenContainerLogResponse, error) {
	rec, err := s.running(req.GetContainerId())
	if err != nil {
		return nil, err
	}
	if err := s.runnerOf(rec.Handler).ReopenLog(s.runnable(rec)); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, reopenTimeout)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := os.Stat(rec.LogPath); err == nil || rec.LogPath == "" {
			return &runtimeapi.ReopenContainerLogResponse{}, nil
		} else if !errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("reopen log of container %s: %w", rec.ID, err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("reopen log of container %s: the monitor did not open %s: %w", rec.ID, rec.LogPath, ctx.Err())
		}
	}
}

// UpdateContainerResources changes the limits of a container; of one that does not run yet, those it will start with.
func (s *Server) UpdateContainerResources(ctx context.Context, req *runtimeapi.UpdateContainerResourcesRequest) (*runtimeapi.UpdateContainerResourcesResponse, error) {
	c, err := s.container(req.GetContainerId())
	if err != nil {
		return nil, err
	}
	c.op.Lock()
	defer c.op.Unlock()
	rec := c.record()
	merged := mergeResources(rec.Resources, req.GetLinux())
	switch rec.State {
	case stateRunning:
		err = s.runnerOf(rec.Handler).Update(ctx, rec.ID, ocispec.Resources(req.GetLinux(), s.node))
	case stateCreated:
		err = s.rewriteResources(rec.ID, merged)
	default:
		err = status.Errorf(codes.FailedPrecondition, "container %s is in %s state: its resources cannot be changed", rec.ID, criState(rec.State))
	}
	if err != nil {
		return nil, err
	}
	return &runtimeapi.UpdateContainerResourcesResponse{}, s.changeContainer(c, func(r *containerRecord) { r.Resources = merged })
}

// UpdatePodSandboxResources is told when a pod's sum changes. The kubelet owns the pod's cgroup and has set it already.
func (s *Server) UpdatePodSandboxResources(_ context.Context, req *runtimeapi.UpdatePodSandboxResourcesRequest) (*runtimeapi.UpdatePodSandboxResourcesResponse, error) {
	if _, err := s.sandbox(req.GetPodSandboxId()); err != nil {
		return nil, err
	}
	return &runtimeapi.UpdatePodSandboxResourcesResponse{}, nil
}
