// SPDX-License-Identifier: Apache-2.0

package plan

import (
	corev1 "k8s.io/api/core/v1"

	"eastwest/internal/kubelet/podstate"
)

// initialize plans the init containers, one after the other, and says whether the pod's own containers may start. Once one of
// those has been made in the current sandbox, initialization is over for good and only sidecars are kept running.
func (p *planner) initialize() bool {
	if p.initialized() {
		p.keepSidecars()
		return true
	}
	for i := range p.pod.Spec.InitContainers {
		c := &p.pod.Spec.InitContainers[i]
		if podstate.IsSidecar(c) {
			if !p.sidecar(c) {
				return false
			}
			continue
		}
		if !p.done(c) {
			return false
		}
	}
	return true
}

func (p *planner) initialized() bool {
	for i := range p.pod.Spec.Containers {
		if p.here(p.pod.Spec.Containers[i].Name) != nil {
			return true
		}
	}
	return false
}

// sidecar says whether the next container may start: the sidecar runs and passed its startup probe.
func (p *planner) sidecar(c *corev1.Container) bool {
	here := p.here(c.Name)
	if here == nil || !here.Running() {
		p.start(c.Name)
		return false
	}
	if probe := p.probes.Failed(here.ID); probe != "" {
		p.kill(*here, "Init container "+c.Name+" failed "+probe+" probe, will be restarted")
		p.start(c.Name)
		return false
	}
	return p.probes.Started(here.ID)
}

// done says whether an init container succeeded. One that failed runs again, or ends the pod.
func (p *planner) done(c *corev1.Container) bool {
	here := p.here(c.Name)
	switch {
	case here == nil:
		p.start(c.Name)
		return false
	case here.Running():
		return false
	case here.Exited() && here.ExitCode == 0:
		return true
	case here.Exited() && !retryInit(p.pod, c, here.ExitCode):
		p.steps.Finish = true
		return false
	}
	p.start(c.Name)
	return false
}

// retryInit: an init container of a pod that restarts always is run again only on failure, which this is.
func retryInit(pod *corev1.Pod, c *corev1.Container, code int32) bool {
	return ShouldRestart(pod, c, code)
}

func (p *planner) keepSidecars() {
	for i := range p.pod.Spec.InitContainers {
		if c := &p.pod.Spec.InitContainers[i]; podstate.IsSidecar(c) {
			p.sidecar(c)
		}
	}
}
