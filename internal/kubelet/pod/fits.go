// SPDX-License-Identifier: Apache-2.0

package pod

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	resourcehelper "k8s.io/component-helpers/resource"
)

// shortage is a resource of which a node has less than a pod needs beside others: thousandths of processors, bytes, pods.
type shortage struct {
	name                   corev1.ResourceName
	asked, used, available int64
}

func (s shortage) missing() int64 { return s.asked + s.used - s.available }

// String says it in the words of the kubelet.
func (s shortage) String() string {
	return fmt.Sprintf("Node didn't have enough resource: %s, requested: %d, used: %d, capacity: %d", s.name, s.asked, s.used, s.available)
}

func (s shortage) reason() string { return "OutOf" + string(s.name) }

// fits says why a node that can give so much does not have what a pod requests beside others: it never had (Infeasible), or not now (Deferred).
func fits(pod *corev1.Pod, others []View, allocatable corev1.ResourceList) (reason, message string) {
	short := lacking(pod, others, allocatable)
	switch {
	case len(short) == 0:
		return "", ""
	case short[0].asked > short[0].available:
		return corev1.PodReasonInfeasible, fmt.Sprintf("Node didn't have enough capacity: %s, requested: %d, capacity: %d", short[0].name, short[0].asked, short[0].available)
	}
	return corev1.PodReasonDeferred, short[0].String()
}

// lacking lists the resources of which there is not enough.
func lacking(pod *corev1.Pod, others []View, allocatable corev1.ResourceList) []shortage {
	var out []shortage
	total := corev1.ResourceList{}
	count := int64(0)
	for _, v := range others {
		if !v.takesRoom() {
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
		out = append(out, shortage{corev1.ResourcePods, 1, count, pods})
	}
	requests := resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{})
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage} {
		ask, has, there := requests[name], total[name], allocatable[name]
		if ask.IsZero() {
			continue
		}
		sum := has.DeepCopy()
		if sum.Add(ask); sum.Cmp(there) > 0 {
			out = append(out, shortage{name, amount(name, ask), amount(name, has), amount(name, there)})
		}
	}
	return out
}

// amount counts thousandths of processors, and bytes.
func amount(name corev1.ResourceName, q resource.Quantity) int64 {
	if name == corev1.ResourceCPU {
		return q.MilliValue()
	}
	return q.Value()
}
