// SPDX-License-Identifier: Apache-2.0

package render

import (
	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Units of the CPU controller (kernel, Documentation/scheduler/sched-bwc.rst).
const (
	cpuPeriod   = 100_000 // microseconds
	minQuota    = 1_000   // microseconds; the kernel refuses less
	minShares   = 2
	maxShares   = 262_144
	sharesPerCP = 1024
)

// Shares converts milli-CPUs to the weight of the cgroup v1 CPU controller.
func Shares(milli int64) int64 {
	return min(max(milli*sharesPerCP/1000, minShares), maxShares)
}

// Quota converts a limit in milli-CPUs to microseconds in each period; 0 means no limit.
func Quota(milli int64) int64 {
	if milli <= 0 {
		return 0
	}
	return max(milli*cpuPeriod/1000, minQuota)
}

// Resources returns the limits of one container.
func Resources(pod *corev1.Pod, c *corev1.Container, node Node) *runtimeapi.LinuxContainerResources {
	request, limit := c.Resources.Requests.Cpu(), c.Resources.Limits.Cpu()
	if request.IsZero() && !limit.IsZero() {
		request = limit
	}
	return &runtimeapi.LinuxContainerResources{
		CpuPeriod: cpuPeriod, CpuQuota: Quota(limit.MilliValue()), CpuShares: Shares(request.MilliValue()),
		MemoryLimitInBytes: c.Resources.Limits.Memory().Value(),
		OomScoreAdj:        oomScore(pod, c, node.MemoryBytes),
	}
}
