// SPDX-License-Identifier: Apache-2.0

package stats

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	statsv1 "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"eastwest/internal/kubelet/podstate"
)

// fromContainers makes pods' statistics of their containers', for runtimes that know no others. They say nothing of networks.
func (s Source) fromContainers(ctx context.Context) ([]statsv1.PodStats, error) {
	answer, err := s.Runtime.ListContainerStats(ctx, &runtimeapi.ListContainerStatsRequest{})
	if err != nil {
		return nil, fmt.Errorf("ask the runtime for statistics of containers: %w", err)
	}
	byUID := map[string]*statsv1.PodStats{}
	for _, c := range answer.GetStats() {
		labels := c.GetAttributes().GetLabels()
		uid := labels[podstate.LabelPodUID]
		if uid == "" {
			continue
		}
		p := byUID[uid]
		if p == nil {
			p = &statsv1.PodStats{PodRef: statsv1.PodReference{Name: labels[podstate.LabelPodName], Namespace: labels[podstate.LabelPodNamespace], UID: uid}}
			byUID[uid] = p
		}
		one := statsv1.ContainerStats{Name: labels[podstate.LabelContainerName], CPU: cpu(c.GetCpu()), Memory: memory(c.GetMemory()), Rootfs: filesystem(c.GetWritableLayer())}
		p.Containers = append(p.Containers, one)
		addTo(p, &one)
	}
	out := make([]statsv1.PodStats, 0, len(byUID))
	for _, p := range byUID {
		out = append(out, *p)
	}
	slices.SortFunc(out, func(a, b statsv1.PodStats) int { return cmp.Compare(a.PodRef.UID, b.PodRef.UID) })
	return out, nil
}

// addTo adds what one container uses to its pod's sums.
func addTo(p *statsv1.PodStats, c *statsv1.ContainerStats) {
	if c.CPU != nil && c.CPU.UsageCoreNanoSeconds != nil {
		if p.CPU == nil {
			p.CPU = &statsv1.CPUStats{Time: c.CPU.Time, UsageCoreNanoSeconds: new(uint64)}
		}
		*p.CPU.UsageCoreNanoSeconds += *c.CPU.UsageCoreNanoSeconds
	}
	if c.Memory != nil && c.Memory.WorkingSetBytes != nil {
		if p.Memory == nil {
			p.Memory = &statsv1.MemoryStats{Time: c.Memory.Time, WorkingSetBytes: new(uint64)}
		}
		*p.Memory.WorkingSetBytes += *c.Memory.WorkingSetBytes
	}
}
