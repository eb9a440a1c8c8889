// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// cpus waits for the Node and returns what its pods may use, in thousandths.
func (w *world) cpus() int64 {
	w.t.Helper()
	w.eventually("the node is there", func() bool { return w.api.Get("nodes", "", "n1") != nil })
	return w.api.Get("nodes", "", "n1").(*corev1.Node).Status.Allocatable.Cpu().MilliValue()
}

func part(of, percent int64) corev1.ResourceRequirements {
	return resources(fmt.Sprintf("%dm", of*percent/100), "64Mi")
}

// A static pod that the node has no room for gets it from others. It starts when these have ended, in their own time, and what they say and what is told of
// them is what Kubernetes' own kubelet has it.
func TestCriticalPodPreempts(t *testing.T) {
	w := newResizing(t)
	w.config.StaticPodPath = t.TempDir()
	var stopping atomic.Bool
	release := make(chan struct{})
	w.cri.OnStop = func(pod string, _ int64) {
		if pod == "large" {
			stopping.Store(true)
			<-release
		}
	}
	w.start()
	cpus := w.cpus()
	w.create(newPod("large", withResources(part(cpus, 60))))
	w.create(newPod("small", withResources(part(cpus, 20))))
	w.create(newPod("vital", func(p *corev1.Pod) {
		withResources(part(cpus, 10))(p)
		p.Spec.Priority = new(int32(2_000_000_000))
	}))
	for _, name := range []string{"large", "small", "vital"} {
		w.ready(name)
	}

	w.manifest("own.yaml", strings.Replace(manifestOf("own", "app:1"), "image: app:1", fmt.Sprintf("image: app:1\n    resources: {requests: {cpu: %dm}}", cpus/2), 1))
	w.eventually("one is being ended", stopping.Load)
	w.until("own-n1", "waiting for its place", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodPending && p.Status.StartTime != nil })
	if got := len(w.cri.Running("main")); got != 3 {
		t.Errorf("%d containers run while one ends", got)
	}
	close(release)
	w.ready("own-n1")
	p := w.until("large", "over", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodFailed })
	if p.Status.Reason != "Preempting" || p.Status.Message != "Preempted in order to admit critical pod" {
		t.Errorf("it says %s: %s", p.Status.Reason, p.Status.Message)
	}
	if c := condition(p, corev1.DisruptionTarget); c == nil || c.Reason != "TerminationByKubelet" || c.Message != "Pod was preempted by Kubelet to accommodate a critical pod." {
		t.Errorf("its condition is %+v", c)
	}
	w.eventually("an event tells it", func() bool {
		return slices.Equal(w.api.Events("large")["Preempting"], []string{"Preempted in order to admit critical pod"})
	})
	w.ready("small")
	w.ready("vital")

	// What critical pods have, they keep.
	w.manifest("huge.yaml", strings.Replace(manifestOf("huge", "app:1"), "image: app:1", fmt.Sprintf("image: app:1\n    resources: {requests: {cpu: %dm}}", cpus), 1))
	p = w.until("huge-n1", "refused", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodFailed })
	want := "no set of running pods found to reclaim resources: [(res: cpu, q: "
	if p.Status.Reason != "UnexpectedAdmissionError" || !strings.HasPrefix(p.Status.Message, "Pod was rejected: ") || !strings.Contains(p.Status.Message, want) {
		t.Errorf("%s: %s", p.Status.Reason, p.Status.Message)
	}
	w.ready("small")
}

// A kubelet that is killed while pods make room goes on with that.
func TestPreemptionGoesOnAfterAKill(t *testing.T) {
	w := newResizing(t)
	w.start()
	cpus := w.cpus()
	var hold atomic.Bool
	hold.Store(true)
	w.cri.OnStop = func(string, int64) {
		for hold.Load() {
			time.Sleep(time.Millisecond)
		}
	}
	w.create(newPod("web", withResources(part(cpus, 80))))
	w.ready("web")
	w.create(newPod("vital", func(p *corev1.Pod) {
		withResources(part(cpus, 80))(p)
		p.Spec.Priority = new(int32(2_000_000_000))
	}))
	w.until("web", "told to end", func(p *corev1.Pod) bool { return p.Status.Reason == "Preempting" })
	w.stop()
	hold.Store(false)
	w.start()
	w.ready("vital")
	w.until("web", "over", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodFailed && p.Status.Reason == "Preempting" })
}

// Who gives a pod a node's name goes past the scheduler; the node looks for itself.
func TestPodsThatDoNotBelongHere(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.cpus()
	refused := func(name, reason, message string) {
		t.Helper()
		p := w.until(name, "refused", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodFailed })
		if p.Status.Reason != reason || p.Status.Message != "Pod was rejected: "+message {
			t.Errorf("%s says %s: %s", name, p.Status.Reason, p.Status.Message)
		}
		w.eventually("an event says it", func() bool { return slices.Equal(w.api.Events(name)[reason], []string{message}) })
	}
	port := func(p *corev1.Pod) {
		p.Spec.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 80, HostPort: 8080}}
	}
	w.create(newPod("first", port))
	w.ready("first")
	w.create(newPod("second", port))
	refused("second", "NodePorts", "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports")
	if p := w.pod("second"); len(p.Status.ContainerStatuses) > 0 {
		t.Errorf("a pod that was refused shows containers, of which kubectl prints what they wait for: %+v", p.Status.ContainerStatuses)
	}

	ssd := func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"disk": "ssd"} }
	w.create(newPod("picky", ssd))
	refused("picky", "NodeAffinity", "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector")
	// A label that the node has got just now counts.
	n := w.api.Get("nodes", "", "n1").(*corev1.Node).DeepCopy()
	n.Labels["disk"] = "ssd"
	w.api.Put("nodes", n)
	w.create(newPod("content", ssd))
	w.ready("content")

	n = w.api.Get("nodes", "", "n1").(*corev1.Node).DeepCopy()
	n.Spec.Taints = []corev1.Taint{{Key: "gone", Effect: corev1.TaintEffectNoExecute}}
	w.api.Put("nodes", n)
	w.eventually("the kubelet has heard of it", func() bool { return len(w.kubelet.node.Object(t.Context(), false).Spec.Taints) > 0 })
	w.create(newPod("frail", nil))
	refused("frail", "TaintToleration", "Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate")
	w.create(newPod("tough", func(p *corev1.Pod) { p.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}} }))
	w.ready("tough")
}

// A RuntimeClass has a name and a handler, and they need not be the same.
func TestRuntimeClass(t *testing.T) {
	w := newWorld(t)
	w.api.Put("runtimeclasses", &nodev1.RuntimeClass{ObjectMeta: metav1.ObjectMeta{Name: "quick"}, Handler: "crun"})
	w.start()
	class := func(name string) func(p *corev1.Pod) {
		return func(p *corev1.Pod) { p.Spec.RuntimeClassName = &name }
	}
	w.create(newPod("web", class("quick")))
	w.ready("web")
	if got := w.cri.Handlers("web"); !slices.Equal(got, []string{"crun"}) {
		t.Errorf("its sandboxes have the handlers %q", got)
	}
	w.create(newPod("lost", class("none")))
	w.eventually("an event says what is missing", func() bool {
		return slices.ContainsFunc(w.api.Events("lost")["FailedCreatePodSandBox"], func(m string) bool {
			return strings.Contains(m, `failed to get sandbox runtime: runtimeclasses.node.k8s.io "none" not found`)
		})
	})
}

// Pods that arrive together are judged in the order in which they were made, whoever's worker is the fastest; so are those that an agent finds when it starts.
func TestTheFirstPodGetsThePort(t *testing.T) {
	port := func(p *corev1.Pod) {
		p.Spec.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 80, HostPort: 8080}}
	}
	made := time.Now().Add(-time.Hour)
	// The names are in another order than the pods.
	pods := func(w *world, names ...string) {
		for i, name := range names {
			w.create(newPod(name, func(p *corev1.Pod) {
				port(p)
				p.CreationTimestamp = metav1.NewTime(made.Add(time.Duration(i) * time.Second))
			}))
		}
	}
	refused := func(w *world, names ...string) {
		t.Helper()
		for _, name := range names {
			p := w.until(name, "refused", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodFailed })
			if p.Status.Reason != "NodePorts" {
				t.Errorf("%s failed because of %s", name, p.Status.Reason)
			}
		}
	}
	others := []string{"a", "z", "b", "y", "c", "x", "d", "w"}
	t.Run("at once", func(t *testing.T) {
		w := newWorld(t)
		w.start()
		pods(w, append([]string{"m"}, others...)...)
		w.ready("m")
		refused(w, others...)
	})
	t.Run("before the start", func(t *testing.T) {
		w := newWorld(t)
		pods(w, append([]string{"m"}, others...)...)
		w.start()
		w.ready("m")
		refused(w, others...)
	})
}
