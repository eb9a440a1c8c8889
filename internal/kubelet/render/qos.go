// SPDX-License-Identifier: Apache-2.0

package render

import corev1 "k8s.io/api/core/v1"

// QOS returns the quality-of-service class of a pod: the one that the API recorded, else computed from its resources.
func QOS(pod *corev1.Pod) corev1.PodQOSClass {
	if pod.Status.QOSClass != "" {
		return pod.Status.QOSClass
	}
	if r := pod.Spec.Resources; r != nil && len(r.Requests)+len(r.Limits) > 0 {
		return classOf([]corev1.ResourceRequirements{*r})
	}
	var all []corev1.ResourceRequirements
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			all = append(all, list[i].Resources)
		}
	}
	return classOf(all)
}

func classOf(all []corev1.ResourceRequirements) corev1.PodQOSClass {
	any, guaranteed := false, true
	for _, r := range all {
		for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			limit, limited := r.Limits[name]
			request, requested := r.Requests[name]
			limited, requested = limited && !limit.IsZero(), requested && !request.IsZero()
			any = any || limited || requested
			if !limited || requested && request.Cmp(limit) != 0 {
				guaranteed = false
			}
		}
	}
	switch {
	case !any:
		return corev1.PodQOSBestEffort
	case guaranteed:
		return corev1.PodQOSGuaranteed
	}
	return corev1.PodQOSBurstable
}

// Scores of the kernel's out-of-memory killer by class (Kubernetes, node-pressure eviction).
const (
	oomGuaranteed = -997
	oomBestEffort = 1000
	oomBurstMin   = 3
	oomBurstMax   = 999
)

func oomScore(pod *corev1.Pod, c *corev1.Container, capacity int64) int64 {
	if Priority(pod) >= SystemCritical {
		return oomGuaranteed
	}
	switch QOS(pod) {
	case corev1.PodQOSGuaranteed:
		return oomGuaranteed
	case corev1.PodQOSBestEffort:
		return oomBestEffort
	}
	if capacity <= 0 {
		return oomBurstMax
	}
	score := 1000 - 1000*c.Resources.Requests.Memory().Value()/capacity
	return min(max(score, oomBurstMin), oomBurstMax)
}
