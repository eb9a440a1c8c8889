// SPDX-License-Identifier: Apache-2.0

package cri

import (
	"context"
	"strings"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"eastwest/internal/cri/cgroup"
)

// PodSandboxStats tells what one pod uses.
func (s *Server) PodSandboxStats(_ context.Context, req *runtimeapi.PodSandboxStatsRequest) (*runtimeapi.PodSandboxStatsResponse, error) {
	b, err := s.sandbox(req.GetPodSandboxId())
	if err != nil {
		return nil, err
	}
	st, err := s.sandboxStats(b.record())
	return &runtimeapi.PodSandboxStatsResponse{Stats: st}, err
}

// ListPodSandboxStats tells what the pods whose sandbox is ready use.
func (s *Server) ListPodSandboxStats(_ context.Context, req *runtimeapi.ListPodSandboxStatsRequest) (*runtimeapi.ListPodSandboxStatsResponse, error) {
	f := req.GetFilter()
	resp := &runtimeapi.ListPodSandboxStatsResponse{}
	for _, rec := range s.sandboxRecordsInMemory() {
		if !rec.Ready || !strings.HasPrefix(rec.ID, f.GetId()) || !selects(f.GetLabelSelector(), rec.Config.GetLabels()) {
			continue
		}
		st, err := s.sandboxStats(rec)
		if err != nil {
			return nil, err
		}
		resp.Stats = append(resp.Stats, st)
	}
	return resp, nil
}

// StreamPodSandboxStats sends what ListPodSandboxStats answers.
func (s *Server) StreamPodSandboxStats(req *runtimeapi.StreamPodSandboxStatsRequest, stream runtimeapi.RuntimeService_StreamPodSandboxStatsServer) error {
	resp, err := s.ListPodSandboxStats(stream.Context(), &runtimeapi.ListPodSandboxStatsRequest{Filter: req.GetFilter()})
	if err != nil {
		return err
	}
	return stream.Send(&runtimeapi.StreamPodSandboxStatsResponse{PodSandboxStats: resp.GetStats()})
}

// sandboxStats reads the pod's own cgroup where it has one, else adds up its containers.
func (s *Server) sandboxStats(rec sandboxRecord) (*runtimeapi.PodSandboxStats, error) {
	containers, err := s.listContainerStats(func(c containerRecord) bool { return c.SandboxID == rec.ID })
	if err != nil {
		return nil, err
	}
	now := time.Now()
	total, ok := s.podGroup(rec)
	if !ok {
		total = sum(containers)
		total.Processes = s.countProcesses(rec.ID)
	}
	return &runtimeapi.PodSandboxStats{
		Attributes: &runtimeapi.PodSandboxAttributes{
			Id: rec.ID, Metadata: rec.Config.GetMetadata(), Labels: rec.Config.GetLabels(), Annotations: rec.Config.GetAnnotations(),
		},
		Linux: &runtimeapi.LinuxPodSandboxStats{
			Cpu: s.cpuUsage(rec.ID, total, now), Memory: memoryUsage(total, now), Network: networkUsage(rec.NetNS, now),
			Process:    &runtimeapi.ProcessUsage{Timestamp: now.UnixNano(), ProcessCount: value(total.Processes)},
			Containers: containers,
		},
	}, nil
}

// podGroup reads the cgroup that the kubelet made for this pod.
func (s *Server) podGroup(rec sandboxRecord) (cgroup.Stats, bool) {
	parent := rec.Config.GetLinux().GetCgroupParent()
	if uid := rec.Config.GetMetadata().GetUid(); parent == "" || uid == "" || !strings.HasSuffix(parent, uid) {
		return cgroup.Stats{}, false
	}
	st, err := s.cgroups.Stats(parent)
	return st, err == nil
}

func sum(containers []*runtimeapi.ContainerStats) cgroup.Stats {
	var total cgroup.Stats
	for _, c := range containers {
		total.CPUNanoseconds += c.GetCpu().GetUsageCoreNanoSeconds().GetValue()
		total.MemoryUsage += c.GetMemory().GetUsageBytes().GetValue()
		total.WorkingSet += c.GetMemory().GetWorkingSetBytes().GetValue()
		total.RSS += c.GetMemory().GetRssBytes().GetValue()
		total.PageFaults += c.GetMemory().GetPageFaults().GetValue()
		total.MajorFaults += c.GetMemory().GetMajorPageFaults().GetValue()
	}
	return total
}

func (s *Server) countProcesses(sandboxID string) uint64 {
	var n uint64
	for _, c := range s.containersOf(sandboxID) {
		n += uint64(len(s.cgroups.Processes(c.rec.CgroupsPath)))
	}
	return n
}
