// SPDX-License-Identifier: Apache-2.0

package pod

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"eastwest/internal/kubelet/plan"
	"eastwest/internal/kubelet/podstate"
	"eastwest/internal/kubelet/render"
	"eastwest/internal/kubelet/status"
)

// Events of pods whose resources are changed while they run.
const (
	resizeStarted   = "ResizeStarted"
	resizeCompleted = "ResizeCompleted"
	resizeError     = "ResizeError"
)

// resizePause is how long to wait after resources that could not be changed.
const resizePause = 10 * time.Second

// resizing is how far the change of a pod's resources is. The API's object asks for resources; the node grants them when it has them, and
// then they are applied to what runs. The worker's pod always has those that are granted.
type resizing struct {
	asked    *corev1.Pod
	granted  map[string]corev1.ResourceRequirements // by container
	applied  map[string]corev1.ResourceRequirements // by container id
	refused  status.Waiting                         // why the node has not granted what is asked for
	failed   string                                 // why what was granted could not be applied
	retryAt  time.Time
	underway bool
	restarts map[string]bool // containers that are restarted for it, which is no failure of theirs
	group    bool            // the pod's group has not been brought to what was granted
}

func eachContainer(pod *corev1.Pod, do func(c *corev1.Container)) {
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			do(&list[i])
		}
	}
}

// take makes the pod of the API's object: with the resources that its containers have been granted.
func (r *resizing) take(asked *corev1.Pod) *corev1.Pod {
	r.asked = asked
	same := true
	eachContainer(asked, func(c *corev1.Container) {
		if granted, known := r.granted[c.Name]; !known {
			r.granted[c.Name] = c.Resources
		} else {
			same = same && equality.Semantic.DeepEqual(granted, c.Resources)
		}
	})
	if same {
		return asked
	}
	pod := asked.DeepCopy()
	eachContainer(pod, func(c *corev1.Container) { c.Resources = r.granted[c.Name] })
	return pod
}

// recall takes what an earlier agent reported of running containers as granted and applied.
func (r *resizing) recall(pod *corev1.Pod) {
	for _, list := range [][]corev1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		for i := range list {
			if has := list[i].Resources; has != nil {
				r.granted[list[i].Name] = corev1.ResourceRequirements{Requests: has.Requests, Limits: has.Limits}
			}
		}
	}
}

// restarted says whether a container is restarted for its resources, once.
func (w *worker) restarted(name string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	is := w.resizing.restarts[name]
	delete(w.resizing.restarts, name)
	return is
}

// resize grants what is asked for if the node has it beside the others. The caller holds the lock.
func (w *worker) resize(others []View) {
	w.noteApplied()
	if w.pod == w.resizing.asked || w.leaving() || w.reason != "" || w.terminal() {
		w.resizing.refused = status.Waiting{}
		return
	}
	asked := w.resizing.asked
	reason, message := fits(asked, others, w.m.config.Allocatable())
	if reason != "" {
		if refused := (status.Waiting{Reason: reason, Message: message}); w.resizing.refused != refused {
			w.resizing.refused = refused
			w.m.config.Events.Pod(w.pod, "", corev1.EventTypeWarning, "Resize"+reason, "Pod resize %s: %s", reason, summary(asked, message))
		}
		return
	}
	eachContainer(asked, func(c *corev1.Container) { w.resizing.granted[c.Name] = c.Resources })
	w.pod, w.resizing.refused, w.resizing.failed, w.resizing.underway, w.resizing.retryAt = asked, status.Waiting{}, "", true, time.Time{}
	w.resizing.group = true
	w.m.config.Events.Pod(w.pod, "", corev1.EventTypeNormal, resizeStarted, "Pod resize started: %s", summary(asked, ""))
}

func (w *worker) pokeDeferred() {
	w.mu.Lock()
	waits := w.resizing.refused.Reason == corev1.PodReasonDeferred
	w.mu.Unlock()
	if waits {
		w.poke()
	}
}

// summary is what events say of resources, in Kubernetes' form.
func summary(pod *corev1.Pod, problem string) string {
	type one struct {
		Name      string                      `json:"name"`
		Resources corev1.ResourceRequirements `json:"resources,omitzero"`
	}
	var all struct {
		InitContainers []one  `json:"initContainers,omitempty"`
		Containers     []one  `json:"containers,omitempty"`
		Generation     int64  `json:"generation"`
		Error          string `json:"error,omitempty"`
	}
	for _, c := range pod.Spec.InitContainers {
		all.InitContainers = append(all.InitContainers, one{c.Name, c.Resources})
	}
	for _, c := range pod.Spec.Containers {
		all.Containers = append(all.Containers, one{c.Name, c.Resources})
	}
	all.Generation, all.Error = pod.Generation, problem
	text, _ := json.Marshal(all) // of plain values
	return string(text)
}

// forget drops containers that are gone, now and then.
func (r *resizing) forget(state *podstate.State) {
	if len(r.applied) <= 2*len(state.Containers)+8 {
		return
	}
	for id := range r.applied {
		if !slices.ContainsFunc(state.Containers, func(c podstate.Container) bool { return c.ID == id }) {
			delete(r.applied, id)
		}
	}
}

// noteApplied takes what runs and was there before this agent for what the pod was granted until now. The caller holds the lock.
func (w *worker) noteApplied() {
	w.resizing.forget(w.state)
	eachContainer(w.pod, func(spec *corev1.Container) {
		if c := w.state.Latest(spec.Name); c != nil && c.Running() {
			if _, known := w.resizing.applied[c.ID]; !known {
				w.resizing.applied[c.ID] = spec.Resources
			}
		}
	})
}

// unapplied lists the running containers that have other resources than they were granted. The caller holds the lock.
func (w *worker) unapplied() []podstate.Container {
	var out []podstate.Container
	eachContainer(w.pod, func(spec *corev1.Container) {
		c := w.state.Latest(spec.Name)
		if c != nil && c.Running() && !equality.Semantic.DeepEqual(w.resizing.applied[c.ID], spec.Resources) {
			out = append(out, *c)
		}
	})
	return out
}

// finishResize says when all that was granted is applied. The caller holds the lock.
func (w *worker) finishResize() {
	if w.resizing.underway && !w.resizing.group && len(w.unapplied()) == 0 {
		w.resizing.underway, w.resizing.failed = false, ""
		w.m.config.Events.Pod(w.pod, "", corev1.EventTypeNormal, resizeCompleted, "Pod resize completed: %s", summary(w.pod, ""))
	}
}

// restartFor adds the containers to the steps that are to be restarted for their new resources, and returns those that take them as they run.
// The caller holds the lock.
func (w *worker) restartFor(steps *plan.Steps) (inPlace []podstate.Container) {
	for _, c := range w.unapplied() {
		spec := podstate.FindSpec(w.pod, c.Name)
		switch has := w.resizing.applied[c.ID]; {
		case slices.ContainsFunc(steps.Kill, func(k plan.Kill) bool { return k.Container.ID == c.ID }):
		case restarts(spec, has):
			steps.Kill = append(steps.Kill, plan.Kill{Container: c, Message: fmt.Sprintf("Container %s resize requires restart", c.Name)})
			steps.Start = append(steps.Start, c.Name)
			w.resizing.restarts[c.Name] = true
		default:
			inPlace = append(inPlace, c)
		}
	}
	return inPlace
}

// restarts says whether the container wants to be restarted for the resources that change.
func restarts(spec *corev1.Container, has corev1.ResourceRequirements) bool {
	for _, policy := range spec.ResizePolicy {
		changed := func(before, now corev1.ResourceList) bool {
			a, b := before[policy.ResourceName], now[policy.ResourceName]
			return a.Cmp(b) != 0
		}
		if policy.RestartPolicy == corev1.RestartContainer && (changed(has.Requests, spec.Resources.Requests) || changed(has.Limits, spec.Resources.Limits)) {
			return true
		}
	}
	return false
}

// apply changes the resources of containers that run, and of the pod's group around them, which is never narrower than what is in it.
func (w *worker) apply(ctx context.Context, containers []podstate.Container) {
	pod, before := w.asItRuns()
	err := w.ensureGroup(pod, before)
	for i := 0; i < len(containers) && err == nil; i++ {
		err = w.applyTo(ctx, pod, before, containers[i])
	}
	if err == nil {
		pod, before = w.asItRuns()
		err = w.ensureGroup(pod, before) // as narrow as all of them allow by now
	}
	if ctx.Err() != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.resizing.retryAt = time.Time{}
	if err == nil {
		w.resizing.group = len(w.unapplied()) > 0
		return
	}
	w.resizing.retryAt = time.Now().Add(resizePause)
	if w.resizing.failed != err.Error() {
		w.resizing.failed = err.Error()
		w.m.config.Events.Pod(pod, "", corev1.EventTypeWarning, resizeError, "Pod resize error: %s", summary(pod, err.Error()))
	}
}

// asItRuns returns the pod, and the pod with the resources that its running containers have.
func (w *worker) asItRuns() (pod, runs *corev1.Pod) {
	w.mu.Lock()
	defer w.mu.Unlock()
	runs = w.pod.DeepCopy()
	for _, c := range w.unapplied() {
		if spec := podstate.FindSpec(runs, c.Name); spec != nil {
			spec.Resources = w.resizing.applied[c.ID]
		}
	}
	return w.pod, runs
}

// widen makes room in the pod's group for containers that are about to start with more than before.
func (w *worker) widen() error {
	w.mu.Lock()
	needed := w.resizing.group
	w.mu.Unlock()
	if !needed {
		return nil
	}
	return w.ensureGroup(w.asItRuns())
}

func (w *worker) ensureGroup(pod, before *corev1.Pod) error {
	if w.m.config.Cgroups == nil {
		return nil
	}
	return w.m.config.Cgroups.Ensure(w.m.config.Node.CgroupParent(pod), wider(podLimits(pod), podLimits(before)))
}

func (w *worker) applyTo(ctx context.Context, pod, before *corev1.Pod, c podstate.Container) error {
	spec, had := podstate.FindSpec(pod, c.Name), podstate.FindSpec(before, c.Name)
	if spec == nil || had == nil {
		return nil
	}
	// The kernel would kill for a limit that is below what is used.
	if limit := spec.Resources.Limits.Memory().Value(); limit > 0 && (had.Resources.Limits.Memory().IsZero() || limit < had.Resources.Limits.Memory().Value()) {
		answer, err := w.m.config.CRI.Runtime.ContainerStats(ctx, &runtimeapi.ContainerStatsRequest{ContainerId: c.ID})
		if used := int64(answer.GetStats().GetMemory().GetUsageBytes().GetValue()); err == nil && used > limit {
			return fmt.Errorf("attempting to set container %q memory limit (%d) below current usage (%d)", c.Name, limit, used)
		}
	}
	_, err := w.m.config.CRI.Runtime.UpdateContainerResources(ctx, &runtimeapi.UpdateContainerResourcesRequest{
		ContainerId: c.ID, Linux: render.Resources(pod, spec, w.m.config.Node)})
	if err != nil {
		return fmt.Errorf("change the resources of container %s: %w", c.Name, plain(err))
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.resizing.applied[c.ID] = spec.Resources
	return nil
}

// resizeConditions say what is asked for and not granted, or granted and not applied. The caller holds the lock.
func (w *worker) resizeConditions() []corev1.PodCondition {
	var out []corev1.PodCondition
	if r := w.resizing.refused; r.Reason != "" {
		out = append(out, corev1.PodCondition{Type: corev1.PodResizePending, Status: corev1.ConditionTrue, Reason: r.Reason, Message: r.Message})
	}
	if w.resizing.underway {
		c := corev1.PodCondition{Type: corev1.PodResizeInProgress, Status: corev1.ConditionTrue}
		if w.resizing.failed != "" {
			c.Reason, c.Message = corev1.PodReasonError, w.resizing.failed
		}
		out = append(out, c)
	}
	return out
}
