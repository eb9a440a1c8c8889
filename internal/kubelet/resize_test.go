// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func resources(cpu, memory string) corev1.ResourceRequirements {
	list := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
	return corev1.ResourceRequirements{Requests: list, Limits: list.DeepCopy()}
}

// newResizing is a world whose pods have no groups of their own: those of the kernel can be removed with their files, a folder's cannot.
func newResizing(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.config.CgroupMount = t.TempDir()
	return w
}

func withResources(r corev1.ResourceRequirements, policy ...corev1.ContainerResizePolicy) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Generation = 1
		p.Spec.Containers[0].Resources, p.Spec.Containers[0].ResizePolicy = r, policy
	}
}

// resize changes the resources of a pod, as its subresource in the API does.
func (w *world) resize(name string, r corev1.ResourceRequirements) {
	w.t.Helper()
	p := w.pod(name)
	p.Generation++
	p.Spec.Containers[0].Resources = r
	w.api.Put("pods", p)
}

func condition(p *corev1.Pod, kind corev1.PodConditionType) *corev1.PodCondition {
	for i := range p.Status.Conditions {
		if p.Status.Conditions[i].Type == kind {
			return &p.Status.Conditions[i]
		}
	}
	return nil
}

func has(p *corev1.Pod, r corev1.ResourceRequirements) bool {
	s := p.Status.ContainerStatuses[0]
	return s.Resources != nil && s.Resources.Limits.Cpu().Equal(*r.Limits.Cpu()) && s.Resources.Limits.Memory().Equal(*r.Limits.Memory()) &&
		s.AllocatedResources.Memory().Equal(*r.Requests.Memory()) && condition(p, corev1.PodResizeInProgress) == nil && condition(p, corev1.PodResizePending) == nil
}

// Resources of a running container change while it runs, if its policy does not ask for a restart, and the status says what it has.
func TestResizeInPlace(t *testing.T) {
	w := newResizing(t)
	w.start()
	w.create(newPod("web", withResources(resources("100m", "128Mi"))))
	before := w.ready("web")
	if !has(before, resources("100m", "128Mi")) {
		t.Errorf("its status is %+v", before.Status.ContainerStatuses[0])
	}
	w.resize("web", resources("200m", "256Mi"))
	p := w.until("web", "resized", func(p *corev1.Pod) bool { return has(p, resources("200m", "256Mi")) })
	if s := p.Status.ContainerStatuses[0]; s.ContainerID != before.Status.ContainerStatuses[0].ContainerID || s.RestartCount != 0 || p.Status.ObservedGeneration != 2 {
		t.Errorf("the container was %s, is %+v", before.Status.ContainerStatuses[0].ContainerID, s)
	}
	linux := w.cri.Config("main").GetLinux().GetResources()
	if linux.GetMemoryLimitInBytes() != 256<<20 || linux.GetCpuQuota() != 20_000 || linux.GetCpuShares() != 204 {
		t.Errorf("the runtime has %v", linux)
	}
	w.eventually("events tell it", func() bool {
		e := w.api.Events("web")
		return len(e["ResizeStarted"]) == 1 && len(e["ResizeCompleted"]) == 1 && strings.Contains(e["ResizeCompleted"][0], `"generation":2`)
	})

	// The next kubelet knows what was granted, and goes on from there.
	w.stop()
	w.resize("web", resources("300m", "256Mi"))
	w.start()
	p = w.until("web", "resized again", func(p *corev1.Pod) bool { return has(p, resources("300m", "256Mi")) })
	if id := p.Status.ContainerStatuses[0].ContainerID; id != before.Status.ContainerStatuses[0].ContainerID || w.cri.Calls("UpdateContainerResources") != 2 {
		t.Errorf("it is %s after %d updates", id, w.cri.Calls("UpdateContainerResources"))
	}

	// Less than it uses would end it.
	w.resize("web", resources("300m", "32Mi"))
	p = w.until("web", "left as it is", func(p *corev1.Pod) bool {
		c := condition(p, corev1.PodResizeInProgress)
		return c != nil && c.Reason == "Error"
	})
	want := fmt.Sprintf("attempting to set container %q memory limit (%d) below current usage (%d)", "main", 32<<20, 64<<20)
	if c := condition(p, corev1.PodResizeInProgress); c.Message != want || w.cri.Config("main").GetLinux().GetResources().GetMemoryLimitInBytes() != 256<<20 {
		t.Errorf("it says %q", c.Message)
	}
	w.resize("web", resources("300m", "256Mi"))
	w.until("web", "as before", func(p *corev1.Pod) bool { return has(p, resources("300m", "256Mi")) })
}

// A container that wants a restart for its memory gets one, and none for its processors.
func TestResizeByRestart(t *testing.T) {
	w := newResizing(t)
	w.start()
	w.create(newPod("web", withResources(resources("100m", "128Mi"), corev1.ContainerResizePolicy{ResourceName: corev1.ResourceMemory, RestartPolicy: corev1.RestartContainer})))
	w.ready("web")
	w.resize("web", resources("200m", "128Mi"))
	if p := w.until("web", "resized", func(p *corev1.Pod) bool { return has(p, resources("200m", "128Mi")) }); p.Status.ContainerStatuses[0].RestartCount != 0 {
		t.Errorf("%+v", p.Status.ContainerStatuses[0])
	}
	w.resize("web", resources("200m", "256Mi"))
	w.until("web", "restarted with more", func(p *corev1.Pod) bool {
		return has(p, resources("200m", "256Mi")) && p.Status.ContainerStatuses[0].RestartCount == 1
	})
	w.eventually("an event says why", func() bool {
		return slices.Contains(w.api.Events("web")["Killing"], "Container main resize requires restart")
	})
	if got := w.cri.Config("main").GetLinux().GetResources().GetMemoryLimitInBytes(); got != 256<<20 {
		t.Errorf("it was started with %d", got)
	}
	// That was no failure: the next restart does not wait.
	w.resize("web", resources("200m", "192Mi"))
	w.until("web", "restarted with less", func(p *corev1.Pod) bool {
		return has(p, resources("200m", "192Mi")) && p.Status.ContainerStatuses[0].RestartCount == 2
	})
	if e := w.api.Events("web"); len(e["BackOff"]) > 0 {
		t.Errorf("it was held back: %v", e["BackOff"])
	}
}

// What the node does not have, it says; the pod runs on with what it had, and gets more as soon as others leave room.
func TestResizeThatTheNodeHasNoRoomFor(t *testing.T) {
	w := newResizing(t)
	w.start()
	w.eventually("the node is there", func() bool { return w.api.Get("nodes", "", "n1") != nil })
	node := w.api.Get("nodes", "", "n1").(*corev1.Node)
	cpus := node.Status.Allocatable.Cpu().MilliValue()
	share := func(percent int64) corev1.ResourceRequirements {
		return resources(fmt.Sprintf("%dm", cpus*percent/100), "64Mi")
	}
	w.create(newPod("other", withResources(share(60))))
	w.ready("other")
	w.create(newPod("web", withResources(share(20))))
	w.ready("web")
	w.resize("web", share(300))
	p := w.until("web", "refused", func(p *corev1.Pod) bool { return condition(p, corev1.PodResizePending) != nil })
	if c := condition(p, corev1.PodResizePending); c.Reason != "Infeasible" || c.Message != fmt.Sprintf("Node didn't have enough capacity: cpu, requested: %d, capacity: %d", cpus*3, cpus) {
		t.Errorf("%s: %s", c.Reason, c.Message)
	}
	w.resize("web", share(50))
	p = w.until("web", "put off", func(p *corev1.Pod) bool {
		c := condition(p, corev1.PodResizePending)
		return c != nil && c.Reason == "Deferred"
	})
	if got := p.Status.ContainerStatuses[0].AllocatedResources; !got.Cpu().Equal(resource.MustParse(fmt.Sprintf("%dm", cpus/5))) {
		t.Errorf("it has %v", got)
	}
	// One that would not fit is not run at all.
	w.create(newPod("third", withResources(share(50))))
	p = w.until("third", "refused", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodFailed })
	if p.Status.Reason != "OutOfcpu" || !strings.HasPrefix(p.Status.Message, "Pod was rejected: Node didn't have enough resource: cpu, requested: ") {
		t.Errorf("%s: %s", p.Status.Reason, p.Status.Message)
	}
	w.delete("other")
	w.gone("other")
	w.until("web", "resized", func(p *corev1.Pod) bool { return has(p, share(50)) })
}
