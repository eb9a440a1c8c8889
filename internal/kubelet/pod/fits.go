// SPDX-License-Identifier: Apache-2.0

package pod

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	resourcehelper "k8s.io/component-helpers/resource"
)

// fits says why a node that can give so much does not have what a pod requests beside others: it never had (Infeasible), or not now (Deferred).
func fits(pod *corev1.Pod, others []View, allocatable corev1.ResourceList) (reason, message string) {
	name, asked, used, capacity := short(pod, others, allocatable)
	switch {
	case name == "":
		return "", ""
	case asked > capacity:
		return corev1.PodReasonInfeasible, fmt.Sprintf("Node didn't have enough capacity: %s, requested: %d, capacity: %d", name, asked, capacity)
	}
	return corev1.PodReasonDeferred, lacks(name, asked, used, capacity)
}

func lacks(name corev1.ResourceName, asked, used, capacity int64) string {
	return fmt.Sprintf("Node didn't have enough resource: %s, requested: %d, used: %d, capacity: %d", name, asked, used, capacity)
}

// short names the first resource of which there is not enough, with what is requested, in use and there.
func short(pod *corev1.Pod, others []View, allocatable corev1.ResourceList) (name corev1.ResourceName, asked, used, capacity int64) {
	total := corev1.ResourceList{}
	count := int64(0)
	for _, v := range others {
		if !v.Admitted || final(v.Pod.Status.Phase) {
			continue
		}
		count++
		for name, quantity := range resourcehelper.PodRequests(v.Pod, resourcehelper.PodResourcesOptions{}) {
			sum := total[name]
			sum.Add(quantity)
			total[name] = sum
		}
	}
	if pods := allocatable.Pods().Value(); count+1 > pods {
		return corev1.ResourcePods, 1, count, pods
	}
	requests := resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{})
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage} {
		ask, has, there := requests[name], total[name], allocatable[name]
		if ask.IsZero() {
			continue
		}
		sum := has.DeepCopy()
		if sum.Add(ask); sum.Cmp(there) > 0 {
			return name, amount(name, ask), amount(name, has), amount(name, there)
		}
	}
	return "", 0, 0, 0
}

// amount counts thousandths of processors, and bytes.
func amount(name corev1.ResourceName, q resource.Quantity) int64 {
	if name == corev1.ResourceCPU {
		return q.MilliValue()
	}
	return q.Value()
}
