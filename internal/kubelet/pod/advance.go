// SPDX-License-Identifier: Apache-2.0

package pod

import (
	"context"
	"errors"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"eastwest/internal/kubelet/plan"
	"eastwest/internal/kubelet/podstate"
	"eastwest/internal/kubelet/render"
	"eastwest/internal/kubelet/volume"
)

// sandboxTimeout bounds one attempt: image pulls are not part of it.
const sandboxTimeout = 4 * time.Minute

// snapshot returns the pod's object and state as they are now.
func (w *worker) snapshot() (*corev1.Pod, *podstate.State) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pod, w.state
}

// advance carries out the steps.
func (w *worker) advance(ctx context.Context, steps plan.Steps) {
	pod, state := w.snapshot()
	for _, k := range steps.Kill {
		w.kill(ctx, pod, &k.Container, w.killGrace(pod, &k.Container), k.Message)
	}
	if len(steps.Kill) > 0 {
		if state = w.observe(ctx, pod); state == nil {
			return
		}
	}
	if steps.NewSandbox && !pod.Spec.HostNetwork { // what brings the network up does not wait for those that wait for a network
		defer w.m.turns.take(ctx)()
	}
	if steps.NewSandbox {
		if state = w.replaceSandbox(ctx, pod, state, steps.Attempt); state == nil {
			return
		}
		steps = plan.Next(pod, state, w.m.config.Probes)
	} else if len(steps.Start) > 0 && !w.setupVolumes(ctx) {
		return
	}
	sandbox := state.ReadySandbox()
	if sandbox == nil || len(steps.Start) == 0 {
		return
	}
	config, err := render.Sandbox(pod, sandbox.Attempt, w.m.config.Node, w.m.config.Resolver())
	if err != nil {
		w.sandboxFailed(pod, err)
		return
	}
	if err := w.widen(); err != nil {
		w.log.Warn("the pod's group has no room for what it was granted", "error", err)
	}
	for _, name := range steps.Start {
		if ctx.Err() != nil {
			return
		}
		w.mu.Lock()
		held := w.heldBack(name, time.Now())
		w.mu.Unlock()
		if !held {
			w.start(ctx, pod, name, sandbox, config)
		}
	}
}

// killGrace is the period for a container that is ended while its pod lives.
func (w *worker) killGrace(pod *corev1.Pod, c *podstate.Container) int64 {
	w.mu.Lock()
	grace := w.grace()
	w.mu.Unlock()
	spec := podstate.FindSpec(pod, c.Name)
	if spec == nil {
		return grace
	}
	var p *corev1.Probe
	switch w.m.config.Probes.Failed(c.ID) {
	case "liveness":
		p = spec.LivenessProbe
	case "startup":
		p = spec.StartupProbe
	}
	if p != nil && p.TerminationGracePeriodSeconds != nil {
		return max(*p.TerminationGracePeriodSeconds, 1)
	}
	return grace
}

// replaceSandbox makes the sandbox and, meanwhile, the volumes. It returns the state with the new sandbox, or nil when it failed.
func (w *worker) replaceSandbox(ctx context.Context, pod *corev1.Pod, state *podstate.State, attempt uint32) *podstate.State {
	if attempt > 0 {
		w.m.config.Events.Pod(pod, "", corev1.EventTypeNormal, "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.")
	}
	for i := range state.Sandboxes {
		if err := w.stopSandbox(ctx, state.Sandboxes[i].ID); err != nil {
			w.log.Warn("earlier sandbox not stopped", "id", state.Sandboxes[i].ID, "error", err)
		}
	}
	volumes := make(chan bool, 1)
	go func() { volumes <- w.setupVolumes(ctx) }()
	err := w.runSandbox(ctx, pod, attempt)
	if err == nil {
		w.poke() // the pod's address can be reported already
	}
	ready := <-volumes
	if err != nil {
		if ctx.Err() == nil {
			w.sandboxFailed(pod, err)
		}
		return nil
	}
	if !ready {
		return nil
	}
	w.mu.Lock()
	w.failures = 0
	w.mu.Unlock()
	return w.observe(ctx, pod)
}

// observe looks at the runtime in the middle of an operation. It returns nil when the runtime does not answer: the next look decides.
func (w *worker) observe(ctx context.Context, pod *corev1.Pod) *podstate.State {
	state, err := w.m.config.CRI.Observe(ctx, string(pod.UID))
	if err != nil {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.state = state
	return state
}

func (w *worker) runSandbox(ctx context.Context, pod *corev1.Pod, attempt uint32) error {
	config, err := render.Sandbox(pod, attempt, w.m.config.Node, w.m.config.Resolver())
	if err != nil {
		return err
	}
	if w.m.config.Cgroups != nil {
		if err := w.m.config.Cgroups.Ensure(config.GetLinux().GetCgroupParent(), podLimits(pod)); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(config.GetLogDirectory(), 0o755); err != nil {
		return err
	}
	handler, err := w.m.config.Classes.Handler(ctx, pod.Spec.RuntimeClassName)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, sandboxTimeout)
	defer cancel()
	_, err = w.m.config.CRI.Runtime.RunPodSandbox(ctx, &runtimeapi.RunPodSandboxRequest{Config: config, RuntimeHandler: handler})
	return err
}

// sandboxFailed says so and waits longer each time.
func (w *worker) sandboxFailed(pod *corev1.Pod, err error) {
	w.m.config.Events.Pod(pod, "", corev1.EventTypeWarning, "FailedCreatePodSandBox", "Failed to create pod sandbox: %v", err)
	w.postpone()
}

// postpone holds the whole pod back: half a second, doubling to a minute.
func (w *worker) postpone() {
	w.mu.Lock()
	defer w.mu.Unlock()
	delay := 500 * time.Millisecond << min(w.failures, 7)
	w.failures++
	w.notYet[""] = time.Now().Add(min(delay, time.Minute))
}

// setupVolumes makes the volumes, or brings them up to date, and reports failures as events.
func (w *worker) setupVolumes(ctx context.Context) bool {
	pod, _ := w.snapshot()
	err := w.m.config.Volumes.Setup(ctx, pod)
	if err == nil {
		return true
	}
	if ctx.Err() != nil {
		return false
	}
	for _, one := range flatten(err) {
		if failure := (*volume.Failure)(nil); errors.As(one, &failure) {
			w.m.config.Events.Pod(pod, "", corev1.EventTypeWarning, "FailedMount", "%v", failure)
		} else {
			w.m.config.Events.Pod(pod, "", corev1.EventTypeWarning, "FailedMount", "%v", one)
		}
	}
	w.postpone()
	return false
}

func flatten(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}

// current says whether the volumes need no look: no token is due and no object changed since the last one.
func (w *worker) current(now time.Time) bool {
	due := w.m.config.Volumes.RefreshAt(w.pod)
	if !due.IsZero() && now.After(due) {
		return false
	}
	changed := w.stale
	w.stale = false
	return !changed
}
