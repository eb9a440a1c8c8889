// SPDX-License-Identifier: Apache-2.0

// Package stats answers /stats/summary: what the node, its pods and their containers use, as the runtime and the kernel tell.
package stats

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	statsv1 "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"eastwest/internal/kubelet/podstate"
)

// Source answers summaries.
type Source struct {
	Node    string
	RootDir string
	Runtime runtimeapi.RuntimeServiceClient
	Started time.Time
	// StartOf returns when a container of a pod was started, or the zero time.
	StartOf func(uid, container string) time.Time
}

// Summary asks the runtime for everything now.
func (s Source) Summary(ctx context.Context) (*statsv1.Summary, error) {
	answer, err := s.Runtime.ListPodSandboxStats(ctx, &runtimeapi.ListPodSandboxStatsRequest{})
	if status.Code(err) == codes.Unimplemented {
		pods, err := s.fromContainers(ctx)
		return &statsv1.Summary{Node: s.node(), Pods: pods}, err
	}
	if err != nil {
		return nil, fmt.Errorf("ask the runtime for statistics: %w", err)
	}
	out := &statsv1.Summary{Node: s.node(), Pods: []statsv1.PodStats{}}
	for _, p := range answer.GetStats() {
		out.Pods = append(out.Pods, podStats(p))
	}
	return out, nil
}

func podStats(p *runtimeapi.PodSandboxStats) statsv1.PodStats {
	meta := p.GetAttributes().GetMetadata()
	out := statsv1.PodStats{
		PodRef: statsv1.PodReference{Name: meta.GetName(), Namespace: meta.GetNamespace(), UID: meta.GetUid()},
		CPU:    cpu(p.GetLinux().GetCpu()), Memory: memory(p.GetLinux().GetMemory()), Network: network(p.GetLinux().GetNetwork()),
		Containers: []statsv1.ContainerStats{},
	}
	for _, c := range p.GetLinux().GetContainers() {
		out.Containers = append(out.Containers, statsv1.ContainerStats{
			Name: c.GetAttributes().GetLabels()[podstate.LabelContainerName],
			CPU:  cpu(c.GetCpu()), Memory: memory(c.GetMemory()), Rootfs: filesystem(c.GetWritableLayer()),
		})
	}
	return out
}

func when(nanoseconds int64) metav1.Time { return metav1.NewTime(time.Unix(0, nanoseconds)) }

func value(v *runtimeapi.UInt64Value) *uint64 {
	if v == nil {
		return nil
	}
	n := v.GetValue()
	return &n
}

func cpu(u *runtimeapi.CpuUsage) *statsv1.CPUStats {
	if u == nil {
		return nil
	}
	return &statsv1.CPUStats{Time: when(u.GetTimestamp()), UsageNanoCores: value(u.GetUsageNanoCores()),
		UsageCoreNanoSeconds: value(u.GetUsageCoreNanoSeconds())}
}

func memory(u *runtimeapi.MemoryUsage) *statsv1.MemoryStats {
	if u == nil {
		return nil
	}
	return &statsv1.MemoryStats{Time: when(u.GetTimestamp()), AvailableBytes: value(u.GetAvailableBytes()), UsageBytes: value(u.GetUsageBytes()),
		WorkingSetBytes: value(u.GetWorkingSetBytes()), RSSBytes: value(u.GetRssBytes()),
		PageFaults: value(u.GetPageFaults()), MajorPageFaults: value(u.GetMajorPageFaults())}
}

func network(u *runtimeapi.NetworkUsage) *statsv1.NetworkStats {
	if u == nil {
		return nil
	}
	out := &statsv1.NetworkStats{Time: when(u.GetTimestamp())}
	if d := u.GetDefaultInterface(); d != nil {
		out.InterfaceStats = link(d)
	}
	for _, i := range u.GetInterfaces() {
		out.Interfaces = append(out.Interfaces, link(i))
	}
	return out
}

func link(u *runtimeapi.NetworkInterfaceUsage) statsv1.InterfaceStats {
	return statsv1.InterfaceStats{Name: u.GetName(), RxBytes: value(u.GetRxBytes()), RxErrors: value(u.GetRxErrors()),
		TxBytes: value(u.GetTxBytes()), TxErrors: value(u.GetTxErrors())}
}

func filesystem(u *runtimeapi.FilesystemUsage) *statsv1.FsStats {
	if u == nil {
		return nil
	}
	return &statsv1.FsStats{Time: when(u.GetTimestamp()), UsedBytes: value(u.GetUsedBytes()), InodesUsed: value(u.GetInodesUsed())}
}
