// SPDX-License-Identifier: Apache-2.0

// Package plan decides what has to be done next for one pod. It is pure: the pod's spec and what the runtime holds go in, the next steps
// come out. Carrying them out and planning again until nothing is left to do is the whole life of a pod.
package plan

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"eastwest/internal/kubelet/podstate"
)

// Probes answers what the probes of a running container found so far.
type Probes interface {
	// Started says whether the container passed its startup probe, or has none.
	Started(containerID string) bool
	// Failed returns which probe ("liveness", "startup") says that the container must be ended, or nothing.
	Failed(containerID string) string
}

// Steps is what to do next, in this order: Kill, a new sandbox, Start.
type Steps struct {
	Finish     bool // the pod's work is over: end what runs, sandbox included
	NewSandbox bool
	Attempt    uint32 // of the new sandbox
	Kill       []Kill
	Start      []string // containers by name, one after the other
}

// Kill is a running container to end, and why.
type Kill struct {
	Container podstate.Container
	Message   string
}

// Empty says that there is nothing to do.
func (s *Steps) Empty() bool {
	return !s.Finish && !s.NewSandbox && len(s.Kill) == 0 && len(s.Start) == 0
}

type planner struct {
	pod     *corev1.Pod
	state   *podstate.State
	probes  Probes
	sandbox string // id of the current sandbox, empty when one is to be made
	steps   Steps
}

// Next returns the next steps for a pod that is not being deleted.
func Next(pod *corev1.Pod, state *podstate.State, probes Probes) Steps {
	p := &planner{pod: pod, state: state, probes: probes}
	if sandbox := state.ReadySandbox(); sandbox != nil {
		p.sandbox = sandbox.ID
		p.ephemeral()
	} else if p.over() {
		return Steps{Finish: true}
	} else {
		p.replaceSandbox()
	}
	if p.initialize() {
		p.regular()
	}
	if p.steps.Finish {
		return Steps{Finish: true}
	}
	return p.steps
}

// over says that no container is left to run, or to run again, in a new sandbox.
func (p *planner) over() bool {
	if len(p.state.Sandboxes) == 0 || len(p.state.Containers) == 0 {
		return false
	}
	for i := range p.pod.Spec.Containers {
		c := &p.pod.Spec.Containers[i]
		latest := p.state.Latest(c.Name)
		if latest == nil && p.pod.Spec.RestartPolicy != corev1.RestartPolicyNever {
			return false
		}
		if latest != nil && (!latest.Exited() || ShouldRestart(p.pod, c, latest.ExitCode)) {
			return false
		}
	}
	return true
}

// replaceSandbox plans a new sandbox; whatever still runs in an old one has lost its network, and ends.
func (p *planner) replaceSandbox() {
	p.steps.NewSandbox = true
	if len(p.state.Sandboxes) > 0 {
		p.steps.Attempt = p.state.Sandboxes[0].Attempt + 1
	}
	for _, c := range p.state.Containers {
		if c.Running() {
			p.kill(c, "Pod sandbox changed, it will be killed and re-created.")
		}
	}
}

func (p *planner) kill(c podstate.Container, message string) {
	p.steps.Kill = append(p.steps.Kill, Kill{c, message})
}

func (p *planner) start(name string) { p.steps.Start = append(p.steps.Start, name) }

// ephemeral containers start once, whatever else the pod does.
func (p *planner) ephemeral() {
	for i := range p.pod.Spec.EphemeralContainers {
		if name := p.pod.Spec.EphemeralContainers[i].Name; p.state.Latest(name) == nil {
			p.start(name)
		}
	}
}

// here returns the newest container of that name when it belongs to the current sandbox.
func (p *planner) here(name string) *podstate.Container {
	if c := p.state.Latest(name); c != nil && p.sandbox != "" && c.SandboxID == p.sandbox {
		return c
	}
	return nil
}

// regular plans the pod's own containers, and ends the pod when none is left to run.
func (p *planner) regular() {
	alive := 0
	for i := range p.pod.Spec.Containers {
		if p.one(&p.pod.Spec.Containers[i]) {
			alive++
		}
	}
	if alive == 0 {
		p.steps.Finish = true
	}
}

// one says whether the container runs or will run again.
func (p *planner) one(c *corev1.Container) bool {
	latest := p.state.Latest(c.Name)
	switch {
	case latest == nil || latest.State == runtimeapi.ContainerState_CONTAINER_CREATED:
		p.start(c.Name)
		return true
	case latest.State == runtimeapi.ContainerState_CONTAINER_UNKNOWN:
		p.kill(*latest, fmt.Sprintf("Container is in %q state, try killing it before restart", "unknown"))
		p.start(c.Name)
		return true
	case latest.Exited() || p.here(c.Name) == nil:
		if ShouldRestart(p.pod, c, latest.ExitCode) {
			p.start(c.Name)
			return true
		}
		return false
	}
	return p.running(c, latest)
}

func (p *planner) running(c *corev1.Container, latest *podstate.Container) bool {
	message, restart := "", policy(p.pod, c) != corev1.RestartPolicyNever
	if latest.Hash != "" && latest.Hash != podstate.Hash(c) {
		message, restart = fmt.Sprintf("Container %s definition changed", c.Name), true
	} else if probe := p.probes.Failed(latest.ID); probe != "" {
		message = fmt.Sprintf("Container %s failed %s probe", c.Name, probe)
	} else {
		return true
	}
	if restart {
		message += ", will be restarted"
		p.start(c.Name)
	}
	p.kill(*latest, message)
	return true
}
