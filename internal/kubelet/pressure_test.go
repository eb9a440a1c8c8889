// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// A node that runs short says so, ends what may be ended and takes nothing more; what may not be ended goes on.
func TestNodeThatRunsShortEvicts(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.create(newPod("plain", nil))
	w.create(newPod("critical", func(p *corev1.Pod) {
		priority := int32(2_000_001_000)
		p.Spec.Priority = &priority
	}))
	w.ready("plain")
	w.ready("critical")

	w.config.Eviction = EvictionConfig{Hard: "memory.available<100%", Period: 20 * time.Millisecond}
	w.restart()
	p := w.until("plain", "evicted", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodFailed })
	if p.Status.Reason != "Evicted" || !strings.HasPrefix(p.Status.Message, "The node was low on resource: memory. Threshold quantity: ") {
		t.Errorf("reason %q, message %q", p.Status.Reason, p.Status.Message)
	}
	found := false
	for _, c := range p.Status.Conditions {
		found = found || c.Type == corev1.DisruptionTarget && c.Status == corev1.ConditionTrue && c.Reason == "TerminationByKubelet"
	}
	if !found {
		t.Errorf("no condition DisruptionTarget in %+v", p.Status.Conditions)
	}
	w.eventually("the eviction is an event", func() bool { return len(w.api.Events("plain")["Evicted"]) > 0 })
	w.eventually("the node says that it is under pressure", func() bool {
		n, _ := w.api.Get("nodes", "", "n1").(*corev1.Node)
		for i := range n.Status.Conditions {
			if c := &n.Status.Conditions[i]; c.Type == corev1.NodeMemoryPressure {
				return c.Status == corev1.ConditionTrue && c.Reason == "KubeletHasInsufficientMemory"
			}
		}
		return false
	})
	w.create(newPod("late", nil))
	p = w.until("late", "refused", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodFailed })
	if p.Status.Reason != "Evicted" || p.Status.Message != "Pod was rejected: The node had condition: [MemoryPressure]. " {
		t.Errorf("reason %q, message %q", p.Status.Reason, p.Status.Message)
	}
	if p := w.pod("critical"); !isPodReady(p) {
		t.Errorf("the critical pod's status is %+v", p.Status)
	}
}

// A pod that goes for a soft threshold may take the time that the node gives it, to end by itself.
func TestSoftEvictionLeavesTime(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.create(newPod("plain", func(p *corev1.Pod) {
		grace := int64(600)
		p.Spec.TerminationGracePeriodSeconds = &grace
	}))
	w.ready("plain")
	w.config.Eviction = EvictionConfig{
		Soft: "memory.available<100%", SoftGrace: "memory.available=1ms", MaxPod: 20, Hard: "pid.available<0", Period: 20 * time.Millisecond,
	}
	w.restart()
	p := w.until("plain", "evicted", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodFailed })
	if p.Status.Reason != "Evicted" {
		t.Errorf("reason %q, message %q", p.Status.Reason, p.Status.Message)
	}
	if got := w.cri.LastGrace(); got != 20 {
		t.Errorf("the container was given %d s to end, want 20", got)
	}
}
