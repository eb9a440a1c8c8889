// SPDX-License-Identifier: Apache-2.0

package status

import (
	corev1 "k8s.io/api/core/v1"

	"eastwest/internal/kubelet/plan"
	"eastwest/internal/kubelet/podstate"
)

// tally counts the pod's containers by what they do.
type tally struct {
	running, waiting, stopped, succeeded, final, unknown int
	initPending, initFailed, sidecarPending              int
}

// phase returns the pod's phase. A phase that is final never changes again.
func (in *Input) phase(s *corev1.PodStatus) corev1.PodPhase {
	if last := in.Last.Phase; last == corev1.PodSucceeded || last == corev1.PodFailed {
		return last
	}
	if in.Reason != "" && in.Ended {
		return corev1.PodFailed
	}
	t := in.count(s)
	initialized := in.everInitialized(s)
	switch {
	case t.initFailed > 0:
		return corev1.PodFailed
	case t.initPending > 0 || t.sidecarPending > 0 && !initialized || t.waiting > 0:
		return in.pending(&t)
	case t.running > 0 && t.unknown == 0:
		return corev1.PodRunning
	case t.running == 0 && t.stopped > 0 && t.unknown == 0:
		return in.stopped(&t)
	}
	return in.pending(&t)
}

// pending: a pod that is ended before it ran, or while it was being started, did not do its work.
func (in *Input) pending(t *tally) corev1.PodPhase {
	if in.Ended && t.running == 0 {
		return corev1.PodFailed
	}
	return corev1.PodPending
}

func (in *Input) stopped(t *tally) corev1.PodPhase {
	if !in.Ended && t.stopped != t.final {
		return corev1.PodRunning
	}
	if t.stopped == t.succeeded {
		return corev1.PodSucceeded
	}
	return corev1.PodFailed
}

func (in *Input) count(s *corev1.PodStatus) tally {
	var t tally
	for i := range in.Pod.Spec.InitContainers {
		spec := &in.Pod.Spec.InitContainers[i]
		if podstate.IsSidecar(spec) {
			t.sidecar(&s.InitContainerStatuses[i])
		} else {
			in.countInit(&t, spec, &s.InitContainerStatuses[i])
		}
	}
	for i := range in.Pod.Spec.Containers {
		spec := &in.Pod.Spec.Containers[i]
		in.countRegular(&t, spec, find(s.ContainerStatuses, spec.Name))
	}
	return t
}

func (in *Input) countInit(t *tally, spec *corev1.Container, s *corev1.ContainerStatus) {
	ended := s.State.Terminated
	if ended == nil {
		ended = s.LastTerminationState.Terminated
		if s.State.Running != nil || ended == nil {
			t.initPending++
			return
		}
	}
	if ended.ExitCode == 0 {
		if s.State.Waiting != nil {
			t.initPending++ // it runs again, in a new sandbox
		}
		return
	}
	if plan.ShouldRestart(in.Pod, spec, ended.ExitCode) {
		t.initPending++
	} else {
		t.initFailed++
	}
}

func (t *tally) sidecar(s *corev1.ContainerStatus) {
	switch {
	case s.State.Running != nil:
		t.running++
		if s.Started == nil || !*s.Started {
			t.sidecarPending++
		}
	case s.State.Waiting != nil && s.LastTerminationState.Terminated == nil:
		t.waiting++
		t.sidecarPending++
	}
}

func (in *Input) countRegular(t *tally, spec *corev1.Container, s *corev1.ContainerStatus) {
	ended := s.State.Terminated
	switch {
	case s.State.Running != nil:
		t.running++
		return
	case s.State.Waiting != nil && s.LastTerminationState.Terminated != nil:
		ended = s.LastTerminationState.Terminated
	case s.State.Waiting != nil:
		t.waiting++
		return
	case ended == nil:
		t.unknown++
		return
	}
	t.stopped++
	if ended.ExitCode == 0 {
		t.succeeded++
	}
	if !plan.ShouldRestart(in.Pod, spec, ended.ExitCode) {
		t.final++
	}
}

// everInitialized says whether one of the pod's own containers was ever made.
func (in *Input) everInitialized(s *corev1.PodStatus) bool {
	for i := range s.ContainerStatuses {
		c := &s.ContainerStatuses[i]
		if c.State.Running != nil || c.State.Terminated != nil || c.LastTerminationState.Terminated != nil {
			return true
		}
	}
	return false
}
