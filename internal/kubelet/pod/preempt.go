// SPDX-License-Identifier: Apache-2.0

package pod

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	resourcehelper "k8s.io/component-helpers/resource"

	"eastwest/internal/kubelet/render"
	"eastwest/internal/kubelet/status"
)

const preempted = "Preempted in order to admit critical pod"

// victims chooses the pods that end so that a critical one gets what is missing. Those of a better class of service count more than any number of
// the next class: of each class the fewest go that are needed even if all of the worse ones went, and of these the smallest.
func victims(critical *corev1.Pod, others []View, missing []shortage) ([]View, error) {
	need := demand{}
	for _, s := range missing {
		need[s.name] = s.missing()
	}
	classes := map[corev1.PodQOSClass][]View{}
	var all []View
	for _, v := range others {
		if v.takesRoom() && yields(v.Pod, critical) {
			class := render.QOS(v.Pod)
			classes[class], all = append(classes[class], v), append(all, v)
		}
	}
	if rest := need.without(all); len(rest) > 0 {
		return nil, fmt.Errorf("preemption: error finding a set of pods to preempt: no set of running pods found to reclaim resources: %s", rest)
	}
	best, middle, least := classes[corev1.PodQOSGuaranteed], classes[corev1.PodQOSBurstable], classes[corev1.PodQOSBestEffort]
	chosen := fewest(best, need.without(slices.Concat(middle, least)))
	chosen = append(chosen, fewest(middle, need.without(slices.Concat(chosen, least)))...)
	return append(chosen, fewest(least, need.without(chosen))...), nil
}

// yields says whether a pod may be ended for a critical one.
func yields(pod, critical *corev1.Pod) bool {
	return !render.IsCritical(pod) || render.Priority(pod) < render.Priority(critical)
}

// fewest takes of the pods, which have enough, the one that helps most, until the need is met.
func fewest(pods []View, need demand) []View {
	left, chosen := slices.Clone(pods), []View(nil)
	for len(need) > 0 && len(left) > 0 {
		next := slices.MinFunc(left, func(a, b View) int {
			return cmp.Or(cmp.Compare(need.unmet(a), need.unmet(b)), compareSize(a, b))
		})
		chosen = append(chosen, next)
		left = slices.DeleteFunc(left, func(v View) bool { return v.Pod == next.Pod })
		need = need.without([]View{next})
	}
	return chosen
}

func compareSize(a, b View) int {
	return cmp.Or(cmp.Compare(share(a, corev1.ResourceMemory), share(b, corev1.ResourceMemory)), cmp.Compare(share(a, corev1.ResourceCPU), share(b, corev1.ResourceCPU)))
}

// demand is how much is to be freed of each resource; what is met is not in it.
type demand map[corev1.ResourceName]int64

// String lists it in the words of the kubelet.
func (d demand) String() string {
	var text strings.Builder
	for _, name := range []corev1.ResourceName{corev1.ResourcePods, corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage} {
		if amount, is := d[name]; is {
			fmt.Fprintf(&text, "(res: %s, q: %d), ", name, amount)
		}
	}
	return "[" + text.String() + "]"
}

// without is what remains to be freed when the pods have ended.
func (d demand) without(pods []View) demand {
	out := demand{}
	for name, amount := range d {
		for _, v := range pods {
			amount -= share(v, name)
		}
		if amount > 0 {
			out[name] = amount
		}
	}
	return out
}

// unmet is how far a pod alone is from meeting the demand, every resource alike: squares, so that a bit of everything is better than all of one.
func (d demand) unmet(v View) float64 {
	total := 0.0
	for name, amount := range d {
		if rest := amount - share(v, name); rest > 0 {
			part := float64(rest) / float64(amount)
			total += part * part
		}
	}
	return total
}

// share is what a pod takes of a resource.
func share(v View, name corev1.ResourceName) int64 {
	if name == corev1.ResourcePods {
		return 1
	}
	return amount(name, resourcehelper.PodRequests(v.Pod, resourcehelper.PodResourcesOptions{})[name])
}

// preempt ends a pod, within its own grace period, for another one. The channel is closed when nothing of it runs; then is called after that.
func (m *Manager) preempt(ctx context.Context, uid types.UID, then func()) <-chan struct{} {
	m.mu.Lock()
	w := m.workers[uid]
	m.mu.Unlock()
	if w == nil {
		return closed()
	}
	w.mu.Lock()
	if w.reason == "" && !w.leaving() && !w.terminal() {
		w.reason, w.message = status.Preempting, preempted
		m.config.Events.Pod(w.pod, "", corev1.EventTypeWarning, status.Preempting, preempted)
	}
	w.mu.Unlock()
	w.poke()
	m.group.Go(func() {
		select {
		case <-w.down:
			then()
		case <-ctx.Done():
		}
	})
	return w.down
}

func closed() <-chan struct{} {
	none := make(chan struct{})
	close(none)
	return none
}
