// SPDX-License-Identifier: Apache-2.0

package eviction

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"eastwest/internal/kubelet/render"
)

// Usage is what a pod uses of one resource: all of it, and its containers by name.
type Usage struct {
	Pod        int64
	Containers map[string]int64
}

// candidate is a pod that may be evicted.
type candidate struct {
	pod   *corev1.Pod
	usage Usage
}

// rank sorts the pods that are to go first to the front: those that use more than they asked for, those of lower priority, and those that
// use most beyond what they asked for. Process ids are not asked for.
func rank(list []candidate, of corev1.ResourceName) {
	slices.SortStableFunc(list, func(a, b candidate) int {
		over := func(c candidate) int64 { return c.usage.Pod - request(c.pod, of) }
		exceeds := func(c candidate) int {
			if over(c) > 0 {
				return 0
			}
			return 1
		}
		byExcess := exceeds(a) - exceeds(b)
		if of == "pids" {
			byExcess = 0
		}
		return cmp.Or(byExcess, cmp.Compare(render.Priority(a.pod), render.Priority(b.pod)), cmp.Compare(over(b), over(a)))
	})
}

// request is what the scheduler set aside for the pod's containers.
func request(pod *corev1.Pod, of corev1.ResourceName) int64 {
	total := int64(0)
	for i := range pod.Spec.Containers {
		total += quantity(pod.Spec.Containers[i].Resources.Requests, of)
	}
	return total
}

func quantity(list corev1.ResourceList, of corev1.ResourceName) int64 {
	q := list[of]
	return q.Value()
}

// message is what pods say of their eviction, in the words that kubectl's users know.
func (b breach) message(c candidate) string {
	of := b.signal.resource()
	var text strings.Builder
	fmt.Fprintf(&text, "The node was low on resource: %s. Threshold quantity: %s, available: %s. ", of, b.show(b.least), b.show(b.available))
	for _, name := range slices.Sorted(maps.Keys(c.usage.Containers)) {
		used := c.usage.Containers[name]
		for i := range c.pod.Spec.Containers {
			container := &c.pod.Spec.Containers[i]
			if asked := quantity(container.Resources.Requests, of); container.Name == name && used > asked {
				fmt.Fprintf(&text, "Container %s was using %s, request is %s, has larger consumption of %s. ", name, b.show(used), b.show(asked), of)
			}
		}
	}
	return text.String()
}

func (b breach) show(n int64) string {
	if b.signal == NodefsInodesFree || b.signal == PIDAvailable {
		return resource.NewQuantity(n, resource.DecimalSI).String()
	}
	if n >= 1<<20 {
		n = n >> 10 << 10 // in Ki, as people read it
	}
	return resource.NewQuantity(n, resource.BinarySI).String()
}

// admit says why a node under pressure does not take a pod, or nothing.
func admit(pod *corev1.Pod, bestEffort bool, conditions []corev1.NodeConditionType) string {
	if len(conditions) == 0 || render.IsCritical(pod) {
		return ""
	}
	if len(conditions) == 1 && conditions[0] == corev1.NodeMemoryPressure && (!bestEffort || tolerates(pod)) {
		return ""
	}
	return fmt.Sprintf("The node had condition: %v. ", conditions)
}

func tolerates(pod *corev1.Pod) bool {
	for _, t := range pod.Spec.Tolerations {
		if (t.Key == "" && t.Operator == corev1.TolerationOpExists || t.Key == corev1.TaintNodeMemoryPressure) &&
			(t.Effect == "" || t.Effect == corev1.TaintEffectNoSchedule) {
			return true
		}
	}
	return false
}
