// SPDX-License-Identifier: Apache-2.0

package pod

import (
	"context"
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"

	"eastwest/internal/kubelet/podstate"
	"eastwest/internal/kubelet/render"
)

// misplaced says why a pod does not belong on the node beside the others, which the scheduler would have seen. Whoever gives a pod a node's name goes past it.
func misplaced(pod *corev1.Pod, on *corev1.Node, others []View) (reason, message string) {
	if reason, message = unwelcome(pod, on); reason != "" {
		return reason, message
	}
	for _, v := range others {
		if v.takesRoom() && collide(hostPorts(pod), hostPorts(v.Pod)) {
			return predicate("NodePorts", "node(s) didn't have free ports for the requested pod ports")
		}
	}
	return "", ""
}

// unwelcome says why the node itself is none for the pod.
func unwelcome(pod *corev1.Pod, on *corev1.Node) (reason, message string) {
	if on == nil {
		return "", ""
	}
	if matches, err := nodeaffinity.GetRequiredNodeAffinity(pod).Match(on); err != nil || !matches {
		return predicate("NodeAffinity", "node(s) didn't match Pod's node affinity/selector")
	}
	if render.IsStatic(pod) {
		return "", ""
	}
	_, untolerated := schedulingv1.FindMatchingUntoleratedTaint(klog.Background(), on.Spec.Taints, pod.Spec.Tolerations, func(t *corev1.Taint) bool {
		return t.Effect == corev1.TaintEffectNoExecute
	}, false)
	if untolerated {
		return predicate("TaintToleration", "node(s) had taints that the pod didn't tolerate")
	}
	return "", ""
}

func predicate(name, problem string) (reason, message string) {
	return name, fmt.Sprintf("Predicate %s failed: %s", name, problem)
}

// hostPort is a port of the node; the zero address stands for all.
type hostPort struct {
	address  netip.Addr
	protocol corev1.Protocol
	number   int32
}

// hostPorts are those that the pod has while it runs: init containers are over by then, sidecars are not.
func hostPorts(pod *corev1.Pod) []hostPort {
	var out []hostPort
	add := func(c *corev1.Container) {
		for _, p := range c.Ports {
			if p.HostPort == 0 {
				continue
			}
			one := hostPort{protocol: p.Protocol, number: p.HostPort}
			if address, err := netip.ParseAddr(p.HostIP); err == nil && !address.IsUnspecified() {
				one.address = address
			}
			if one.protocol == "" {
				one.protocol = corev1.ProtocolTCP
			}
			out = append(out, one)
		}
	}
	for i := range pod.Spec.InitContainers {
		if c := &pod.Spec.InitContainers[i]; podstate.IsSidecar(c) {
			add(c)
		}
	}
	for i := range pod.Spec.Containers {
		add(&pod.Spec.Containers[i])
	}
	return out
}

func collide(a, b []hostPort) bool {
	for _, x := range a {
		for _, y := range b {
			if x.protocol == y.protocol && x.number == y.number && (x.address == y.address || !x.address.IsValid() || !y.address.IsValid()) {
				return true
			}
		}
	}
	return false
}

// place returns the node as the pod is to see it: as it was last heard of, unless the pod does not belong there. Its labels may have changed a moment ago,
// for this very pod; then the API is asked. A pod that is here already, or comes from the node itself, does not wait for an API that may be away.
func (w *worker) place(ctx context.Context, state *podstate.State) *corev1.Node {
	w.mu.Lock()
	pod, decided := w.pod, w.admitted || len(state.Sandboxes) > 0
	w.mu.Unlock()
	if decided {
		return nil
	}
	on := w.m.config.Place(ctx, false)
	if reason, _ := unwelcome(pod, on); reason != "" || on == nil && !render.IsStatic(pod) {
		if asked := w.m.config.Place(ctx, true); asked != nil {
			return asked
		}
	}
	return on
}
