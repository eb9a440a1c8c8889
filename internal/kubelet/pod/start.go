// SPDX-License-Identifier: Apache-2.0

package pod

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"eastwest/internal/kubelet/image"
	"eastwest/internal/kubelet/podstate"
	podstatus "eastwest/internal/kubelet/status"
)

// Reasons of containers that could not be started.
const (
	errConfig = "CreateContainerConfigError"
	errCreate = "CreateContainerError"
	errRun    = "RunContainerError"
	errHook   = "PostStartHookError"
)

// startTimeout bounds making or starting one container. One that is being started when its pod is to end is waited for a moment, and ended
// then: half started it would look as if it could not start.
const (
	startTimeout = 2 * time.Minute
	lateStart    = 10 * time.Second
)

// lasting makes a context that ends after the timeout, or a while after ctx does.
func lasting(ctx context.Context, timeout, after time.Duration) (context.Context, context.CancelFunc) {
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-time.After(after):
			cancel()
		case <-limited.Done():
		}
	})
	return limited, func() { stop(); cancel() }
}

// failure is why a container did not start.
type failure struct {
	reason  string
	err     error
	retryAt time.Time
	event   bool // not reported as an event yet
}

// start makes and starts one container, and notes how that went.
func (w *worker) start(ctx context.Context, pod *corev1.Pod, name string, sandbox *podstate.Sandbox, config *runtimeapi.PodSandboxConfig) {
	spec := podstate.FindSpec(pod, name)
	if spec == nil {
		return
	}
	_, state := w.snapshot()
	if c := state.Latest(name); c != nil && c.Exited() && !w.restarted(name) {
		w.m.backOff.Next(w.crashKey(name), time.Now())
	}
	id, fail := w.create(ctx, pod, spec, sandbox, config)
	if fail == nil {
		fail = w.launch(ctx, pod, spec, id)
	}
	if ctx.Err() != nil {
		return
	}
	w.mu.Lock()
	delete(w.waiting, name)
	delete(w.starting, name)
	delete(w.notYet, name)
	if fail != nil {
		w.waiting[name] = podstatus.Waiting{Reason: fail.reason, Message: fail.err.Error()}
		if fail.retryAt.IsZero() {
			fail.retryAt = time.Now().Add(10 * time.Second)
		}
		w.notYet[name] = fail.retryAt
	}
	w.mu.Unlock()
	if fail != nil && fail.event {
		w.m.config.Events.Pod(pod, name, corev1.EventTypeWarning, "Failed", "Error: %v", fail.err)
	}
	w.discard(ctx, name)
}

// create gets the image and makes the container.
func (w *worker) create(ctx context.Context, pod *corev1.Pod, spec *corev1.Container, sandbox *podstate.Sandbox, config *runtimeapi.PodSandboxConfig) (string, *failure) {
	found, fail := w.image(ctx, pod, spec, config)
	if fail == nil {
		fail = w.imageVolumes(ctx, pod, spec, config)
	}
	if fail != nil {
		return "", fail
	}
	container, err := w.configure(ctx, pod, spec, sandbox, found)
	if err != nil {
		return "", &failure{reason: errConfig, err: err, event: true}
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	answer, err := w.m.config.CRI.Runtime.CreateContainer(ctx, &runtimeapi.CreateContainerRequest{
		PodSandboxId: sandbox.ID, Config: container, SandboxConfig: config})
	if err != nil {
		return "", &failure{reason: errCreate, err: plain(err), event: true}
	}
	w.mu.Lock()
	w.resizing.applied[answer.GetContainerId()] = spec.Resources
	w.mu.Unlock()
	w.m.config.Events.Pod(pod, spec.Name, corev1.EventTypeNormal, "Created", "Container created")
	return answer.GetContainerId(), nil
}

func (w *worker) image(ctx context.Context, pod *corev1.Pod, spec *corev1.Container, config *runtimeapi.PodSandboxConfig) (image.Found, *failure) {
	found, err := w.m.config.Images.Ensure(ctx, pod, spec, w.credentials(ctx, pod, spec.Image), config)
	if e := (*image.Error)(nil); errors.As(err, &e) {
		w.m.config.Events.Pod(pod, spec.Name, corev1.EventTypeWarning, "Failed", "Error: %s", e.Reason)
		return found, &failure{reason: e.Reason, err: errors.New(e.Message), retryAt: e.RetryAt}
	}
	if err != nil {
		return found, &failure{reason: image.ErrImagePull, err: err}
	}
	return found, nil
}

// imageVolumes gets the images that the container mounts as volumes.
func (w *worker) imageVolumes(ctx context.Context, pod *corev1.Pod, spec *corev1.Container, config *runtimeapi.PodSandboxConfig) *failure {
	for _, mount := range spec.VolumeMounts {
		for i := range pod.Spec.Volumes {
			v := &pod.Spec.Volumes[i]
			if v.Name != mount.Name || v.Image == nil {
				continue
			}
			like := &corev1.Container{Name: spec.Name, Image: v.Image.Reference, ImagePullPolicy: v.Image.PullPolicy}
			if _, fail := w.image(ctx, pod, like, config); fail != nil {
				return fail
			}
		}
	}
	return nil
}

// plain drops what gRPC puts around a runtime's message.
func plain(err error) error {
	if s, ok := status.FromError(err); ok {
		return errors.New(s.Message())
	}
	return err
}

// launch starts the container and runs its post-start hook; until that returns, the container is not said to run.
func (w *worker) launch(ctx context.Context, pod *corev1.Pod, spec *corev1.Container, id string) *failure {
	hook := spec.Lifecycle != nil && spec.Lifecycle.PostStart != nil
	if hook {
		w.mu.Lock()
		w.starting[spec.Name] = true
		w.mu.Unlock()
	}
	limited, cancel := lasting(ctx, startTimeout, lateStart)
	defer cancel()
	if _, err := w.m.config.CRI.Runtime.StartContainer(limited, &runtimeapi.StartContainerRequest{ContainerId: id}); err != nil {
		return &failure{reason: errRun, err: plain(err), event: true}
	}
	w.m.config.Events.Pod(pod, spec.Name, corev1.EventTypeNormal, "Started", "Container started")
	if !hook {
		return nil
	}
	if err := w.hook(ctx, pod, spec, id, spec.Lifecycle.PostStart); err != nil {
		w.m.config.Events.Pod(pod, spec.Name, corev1.EventTypeWarning, "FailedPostStartHook", "PostStartHook failed")
		c := podstate.Container{ID: id, Name: spec.Name}
		w.kill(ctx, pod, &c, w.killGrace(pod, &c), "FailedPostStartHook")
		return &failure{reason: errHook, err: fmt.Errorf("PostStartHook failed: %w", err), retryAt: time.Now()}
	}
	return nil
}

// discard removes containers and sandboxes that nobody will ask about, and old empty sandboxes.
func (w *worker) discard(ctx context.Context, name string) {
	_, state := w.snapshot()
	used := map[string]bool{}
	old := state.Superfluous(name)
	for i := range state.Containers {
		c := &state.Containers[i]
		if !slices.Contains(old, c.ID) {
			used[c.SandboxID] = true
			continue
		}
		if err := w.removeContainer(ctx, c.ID); err != nil {
			w.log.Warn("old container not removed", "container", c.Name, "id", c.ID, "error", err)
		}
	}
	for i := range state.Sandboxes {
		if s := &state.Sandboxes[i]; i > 0 && !s.Ready && !used[s.ID] {
			if err := w.removeSandbox(ctx, s.ID); err != nil {
				w.log.Warn("old sandbox not removed", "id", s.ID, "error", err)
			}
		}
	}
}
