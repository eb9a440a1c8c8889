// SPDX-License-Identifier: Apache-2.0

package pod

import (
	corev1 "k8s.io/api/core/v1"
	resourcehelper "k8s.io/component-helpers/resource"

	"eastwest/internal/kubelet/cgroup"
	"eastwest/internal/kubelet/render"
)

// podLimits is what the pod may use as a whole: what it says itself, or the sum of its containers, sidecars among them, and its overhead. A sum counts
// as a limit only when every container has one.
func podLimits(pod *corev1.Pod) cgroup.Limits {
	declared := map[corev1.ResourceName]bool{corev1.ResourceCPU: true, corev1.ResourceMemory: true}
	limits := resourcehelper.PodLimits(pod, resourcehelper.PodResourcesOptions{
		ContainerFn: func(of corev1.ResourceList, _ resourcehelper.ContainerType) {
			for name := range declared {
				if quantity := of[name]; quantity.IsZero() {
					declared[name] = false
				}
			}
		}})
	if pod.Spec.Resources != nil {
		for name := range declared {
			if quantity := pod.Spec.Resources.Limits[name]; !quantity.IsZero() {
				declared[name] = true
			}
		}
	}
	requests := resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{})
	l := cgroup.Limits{CPUShares: render.Shares(requests.Cpu().MilliValue())}
	if declared[corev1.ResourceCPU] {
		l.CPUQuota = render.Quota(limits.Cpu().MilliValue())
	}
	if declared[corev1.ResourceMemory] {
		l.MemoryBytes = limits.Memory().Value()
	}
	return l
}

// wider is what has room for both.
func wider(a, b cgroup.Limits) cgroup.Limits {
	most := func(x, y int64) int64 {
		if x == 0 || y == 0 {
			return 0 // none
		}
		return max(x, y)
	}
	return cgroup.Limits{CPUShares: max(a.CPUShares, b.CPUShares), CPUQuota: most(a.CPUQuota, b.CPUQuota), MemoryBytes: most(a.MemoryBytes, b.MemoryBytes)}
}
