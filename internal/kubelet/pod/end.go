// SPDX-License-Identifier: Apache-2.0

package pod

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"eastwest/internal/kubelet/podstate"
)

// leastGrace is what a container gets after its pre-stop hook used up the period (Kubernetes, pod termination).
const leastGrace = 2

// stopSlack is how much longer than the grace period the runtime may take to answer.
const stopSlack = 2 * time.Minute

// end stops everything of the pod: its containers, then its sidecars in reverse order, then the sandbox.
func (w *worker) end(ctx context.Context) {
	pod, _ := w.snapshot()
	state, err := w.m.config.CRI.Observe(ctx, string(pod.UID))
	if err != nil {
		w.endFailed(ctx, "observe", err)
		return
	}
	w.mu.Lock()
	deadline := time.Now().Add(time.Duration(w.grace()) * time.Second)
	w.mu.Unlock()
	sidecars := map[string]bool{}
	for i := range pod.Spec.InitContainers {
		if c := &pod.Spec.InitContainers[i]; podstate.IsSidecar(c) {
			sidecars[c.Name] = true
		}
	}
	w.killAll(ctx, pod, state, deadline, func(name string) bool { return !sidecars[name] })
	for i := len(pod.Spec.InitContainers) - 1; i >= 0; i-- {
		if name := pod.Spec.InitContainers[i].Name; sidecars[name] {
			w.killAll(ctx, pod, state, deadline, func(other string) bool { return other == name })
		}
	}
	if ctx.Err() != nil {
		return
	}
	w.settle(ctx, pod)
}

// settle checks that nothing runs any more, and then stops the sandboxes.
func (w *worker) settle(ctx context.Context, pod *corev1.Pod) {
	state, err := w.m.config.CRI.Observe(ctx, string(pod.UID))
	if err != nil {
		w.endFailed(ctx, "observe", err)
		return
	}
	if state.AnyRunning() {
		_ = pause(ctx, finishPause)
		return
	}
	for i := range state.Sandboxes {
		if err := w.stopSandbox(ctx, state.Sandboxes[i].ID); err != nil {
			w.endFailed(ctx, "stop the sandbox", err)
			return
		}
	}
	w.mu.Lock()
	w.stage = stopped
	leaving := w.leaving()
	w.mu.Unlock()
	if leaving {
		return
	}
	if err := w.release(pod); err != nil {
		w.log.Warn("what the ended pod held is not all given back", "error", err)
	}
}

func (w *worker) endFailed(ctx context.Context, what string, err error) {
	if ctx.Err() == nil {
		w.log.Warn("ending the pod failed, will retry", "step", what, "error", err)
		_ = pause(ctx, finishPause)
	}
}

func (w *worker) killAll(ctx context.Context, pod *corev1.Pod, state *podstate.State, deadline time.Time, which func(name string) bool) {
	var group sync.WaitGroup
	for i := range state.Containers {
		c := &state.Containers[i]
		if (c.Running() || c.State == runtimeapi.ContainerState_CONTAINER_UNKNOWN) && which(c.Name) {
			group.Go(func() {
				w.kill(ctx, pod, c, max(int64(time.Until(deadline).Seconds()+0.5), 1), "Stopping container "+c.Name)
			})
		}
	}
	group.Wait()
}

// kill runs the pre-stop hook and stops the container, all within the grace period in seconds.
func (w *worker) kill(ctx context.Context, pod *corev1.Pod, c *podstate.Container, grace int64, message string) {
	w.m.config.Events.Pod(pod, c.Name, corev1.EventTypeNormal, "Killing", "%s", message)
	begin := time.Now()
	if spec := podstate.FindSpec(pod, c.Name); spec != nil && spec.Lifecycle != nil && spec.Lifecycle.PreStop != nil && c.Running() {
		limited, cancel := context.WithTimeout(ctx, time.Duration(grace)*time.Second)
		if err := w.hook(limited, pod, spec, c.ID, spec.Lifecycle.PreStop); err != nil && ctx.Err() == nil {
			w.m.config.Events.Pod(pod, c.Name, corev1.EventTypeWarning, "FailedPreStopHook", "PreStopHook failed")
		}
		cancel()
		grace -= int64(time.Since(begin).Seconds())
	}
	grace = max(grace, leastGrace)
	ctx, cancel := context.WithTimeout(ctx, time.Duration(grace)*time.Second+stopSlack)
	defer cancel()
	_, err := w.m.config.CRI.Runtime.StopContainer(ctx, &runtimeapi.StopContainerRequest{ContainerId: c.ID, Timeout: grace})
	if err != nil && ctx.Err() == nil && status.Code(err) != codes.NotFound {
		w.log.Warn("container not stopped", "container", c.Name, "id", c.ID, "error", err)
	}
}

func (w *worker) stopSandbox(ctx context.Context, id string) error {
	_, err := w.m.config.CRI.Runtime.StopPodSandbox(ctx, &runtimeapi.StopPodSandboxRequest{PodSandboxId: id})
	return present(err)
}

func (w *worker) removeSandbox(ctx context.Context, id string) error {
	_, err := w.m.config.CRI.Runtime.RemovePodSandbox(ctx, &runtimeapi.RemovePodSandboxRequest{PodSandboxId: id})
	return present(err)
}

func (w *worker) removeContainer(ctx context.Context, id string) error {
	_, err := w.m.config.CRI.Runtime.RemoveContainer(ctx, &runtimeapi.RemoveContainerRequest{ContainerId: id})
	return present(err)
}

// present forgives that a thing to be removed is not there.
func present(err error) error {
	if status.Code(err) == codes.NotFound {
		return nil
	}
	return err
}
