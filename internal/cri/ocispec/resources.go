// SPDX-License-Identifier: Apache-2.0

package ocispec

import (
	"github.com/opencontainers/runtime-spec/specs-go"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Resources translates limits. A zero of CRI means "not said".
func Resources(r *runtimeapi.LinuxContainerResources, node Node) *specs.LinuxResources {
	out := &specs.LinuxResources{CPU: cpuLimits(r), Memory: memoryLimits(r, node)}
	if node.HugePages {
		for _, h := range r.GetHugepageLimits() {
			out.HugepageLimits = append(out.HugepageLimits, specs.LinuxHugepageLimit{Pagesize: h.GetPageSize(), Limit: h.GetLimit()})
		}
	}
	if node.UnifiedCgroups && len(r.GetUnified()) > 0 {
		out.Unified = r.GetUnified()
	}
	return out
}

func cpuLimits(r *runtimeapi.LinuxContainerResources) *specs.LinuxCPU {
	cpu := &specs.LinuxCPU{Cpus: r.GetCpusetCpus(), Mems: r.GetCpusetMems()}
	if v := uint64(max(r.GetCpuShares(), 0)); v > 0 {
		cpu.Shares = &v
	}
	if v := uint64(max(r.GetCpuPeriod(), 0)); v > 0 {
		cpu.Period = &v
	}
	if v := r.GetCpuQuota(); v != 0 {
		cpu.Quota = &v
	}
	return cpu
}

func memoryLimits(r *runtimeapi.LinuxContainerResources, node Node) *specs.LinuxMemory {
	mem := &specs.LinuxMemory{}
	if v := r.GetMemoryLimitInBytes(); v != 0 {
		mem.Limit = &v
		if swap := r.GetMemorySwapLimitInBytes(); swap != 0 && node.SwapAccounting {
			mem.Swap = &swap
		}
	}
	return mem
}
