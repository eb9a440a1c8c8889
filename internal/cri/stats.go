// SPDX-License-Identifier: Apache-2.0

package cri

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"eastwest/internal/cri/cgroup"
)

// ContainerStats tells what one container uses.
func (s *Server) ContainerStats(_ context.Context, req *runtimeapi.ContainerStatsRequest) (*runtimeapi.ContainerStatsResponse, error) {
	c, err := s.container(req.GetContainerId())
	if err != nil {
		return nil, err
	}
	st, err := s.containerStats(c.record())
	return &runtimeapi.ContainerStatsResponse{Stats: st}, err
}

// ListContainerStats tells what running containers use.
func (s *Server) ListContainerStats(_ context.Context, req *runtimeapi.ListContainerStatsRequest) (*runtimeapi.ListContainerStatsResponse, error) {
	f := req.GetFilter()
	all, err := s.listContainerStats(func(rec containerRecord) bool {
		return strings.HasPrefix(rec.ID, f.GetId()) && strings.HasPrefix(rec.SandboxID, f.GetPodSandboxId()) && selects(f.GetLabelSelector(), rec.Config.GetLabels())
	})
	return &runtimeapi.ListContainerStatsResponse{Stats: all}, err
}

// StreamContainerStats sends what ListContainerStats answers.
func (s *Server) StreamContainerStats(req *runtimeapi.StreamContainerStatsRequest, stream runtimeapi.RuntimeService_StreamContainerStatsServer) error {
	resp, err := s.ListContainerStats(stream.Context(), &runtimeapi.ListContainerStatsRequest{Filter: req.GetFilter()})
	if err != nil {
		return err
	}
	return stream.Send(&runtimeapi.StreamContainerStatsResponse{ContainerStats: resp.GetStats()})
}

func (s *Server) listContainerStats(want func(containerRecord) bool) ([]*runtimeapi.ContainerStats, error) {
	var out []*runtimeapi.ContainerStats
	for _, rec := range s.containerRecordsInMemory() {
		if rec.State != stateRunning || !want(rec) {
			continue
		}
		st, err := s.containerStats(rec)
		if errors.Is(err, os.ErrNotExist) {
			continue // ended in between
		}
		if err != nil {
			return nil, err
		}
		out = append(out, st)
	}
	return out, nil
}

func (s *Server) containerStats(rec containerRecord) (*runtimeapi.ContainerStats, error) {
	out := &runtimeapi.ContainerStats{
		Attributes: &runtimeapi.ContainerAttributes{
			Id: rec.ID, Metadata: rec.Config.GetMetadata(), Labels: rec.Config.GetLabels(), Annotations: rec.Config.GetAnnotations(),
		},
		WritableLayer: s.writableLayer(rec.ID),
	}
	if rec.State != stateRunning {
		return out, nil
	}
	st, err := s.cgroups.Stats(rec.CgroupsPath)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	out.Cpu = s.cpuUsage(rec.ID, st, now)
	out.Memory = memoryUsage(st, now)
	out.Swap = &runtimeapi.SwapUsage{Timestamp: now.UnixNano(), SwapUsageBytes: value(st.Swap), SwapAvailableBytes: value(available(st.SwapLimit, st.Swap))}
	return out, nil
}

func (s *Server) cpuUsage(id string, st cgroup.Stats, now time.Time) *runtimeapi.CpuUsage {
	return &runtimeapi.CpuUsage{
		Timestamp: now.UnixNano(), UsageCoreNanoSeconds: value(st.CPUNanoseconds), UsageNanoCores: value(s.usage.rate(id, st.CPUNanoseconds, now)),
	}
}

func memoryUsage(st cgroup.Stats, now time.Time) *runtimeapi.MemoryUsage {
	return &runtimeapi.MemoryUsage{
		Timestamp: now.UnixNano(), WorkingSetBytes: value(st.WorkingSet), UsageBytes: value(st.MemoryUsage), RssBytes: value(st.RSS),
		PageFaults: value(st.PageFaults), MajorPageFaults: value(st.MajorFaults), AvailableBytes: value(available(st.MemoryLimit, st.WorkingSet)),
	}
}

func available(limit, used uint64) uint64 {
	if used > limit {
		return 0
	}
	return limit - used
}

func value(v uint64) *runtimeapi.UInt64Value { return &runtimeapi.UInt64Value{Value: v} }

// writableLayer adds up what a container has written to its root file system.
func (s *Server) writableLayer(id string) *runtimeapi.FilesystemUsage {
	dir := filepath.Join(s.containerRecords(), id, "upper")
	var bytes, inodes uint64
	_ = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil // changes while we look
		}
		inodes++
		if info, err := e.Info(); err == nil {
			if st, ok := info.Sys().(*syscall.Stat_t); ok {
				bytes += uint64(st.Blocks) * 512
			}
		}
		return nil
	})
	return &runtimeapi.FilesystemUsage{
		Timestamp: time.Now().UnixNano(), FsId: &runtimeapi.FilesystemIdentifier{Mountpoint: s.containerRecords()},
		UsedBytes: value(bytes), InodesUsed: value(inodes),
	}
}

// usageHistory remembers the last reading of processor time, for rates.
type usageHistory struct {
	mu   sync.Mutex
	last map[string]usageSample
}

type usageSample struct {
	used uint64
	at   time.Time
	rate uint64
}

func newUsageHistory() *usageHistory { return &usageHistory{last: map[string]usageSample{}} }

// rate is the processor time used per second of time since the last reading, in nanoseconds per second; readings less
// than 100 ms apart answer with the rate known.
func (h *usageHistory) rate(id string, used uint64, at time.Time) uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	before, ok := h.last[id]
	if ok && at.Sub(before.at) < 100*time.Millisecond {
		return before.rate
	}
	sample := usageSample{used: used, at: at}
	if ok && used >= before.used {
		sample.rate = uint64(float64(used-before.used) / at.Sub(before.at).Seconds())
	}
	h.last[id] = sample
	return sample.rate
}

func (h *usageHistory) forget(id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.last, id)
}
