// SPDX-License-Identifier: Apache-2.0

package status

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"eastwest/internal/kubelet/podstate"
)

// passing are the kubelet's conditions that go when they no longer hold.
var passing = []corev1.PodConditionType{corev1.PodResizePending, corev1.PodResizeInProgress}

// conditions returns the conditions that the kubelet owns, and leaves those of others as they are.
func (in *Input) conditions(s *corev1.PodStatus) []corev1.PodCondition {
	own := []corev1.PodCondition{
		in.sandboxReady(), in.initialized(s), in.ready(s), in.containersReady(s),
		{Type: corev1.PodScheduled, Status: corev1.ConditionTrue},
	}
	if message := in.disrupted(); message != "" {
		own = append(own, corev1.PodCondition{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue,
			Reason: corev1.PodReasonTerminationByKubelet, Message: message})
	}
	own = append(own, in.Resize...)
	for i := range own {
		own[i].ObservedGeneration = in.Pod.Generation
		own[i].LastTransitionTime = stamp(in.Now)
		for _, last := range in.Last.Conditions {
			if last.Type == own[i].Type && last.Status == own[i].Status && !last.LastTransitionTime.IsZero() {
				own[i].LastTransitionTime = last.LastTransitionTime
			}
		}
	}
	for _, other := range in.Pod.Status.Conditions {
		if !mine(own, other.Type) && !slices.Contains(passing, other.Type) {
			own = append(own, other)
		}
	}
	return own
}

// Preempting is the reason of a pod that ends for a critical one.
const Preempting = "Preempting"

// disrupted says why a pod that could have gone on is ended, or nothing.
func (in *Input) disrupted() string {
	switch {
	case in.Refused:
	case in.Reason == Preempting:
		return "Pod was preempted by Kubelet to accommodate a critical pod."
	case in.Reason == "Evicted" || in.Reason == "Terminated":
		return in.Message
	}
	return ""
}

func mine(own []corev1.PodCondition, kind corev1.PodConditionType) bool {
	for i := range own {
		if own[i].Type == kind {
			return true
		}
	}
	return false
}

func (in *Input) sandboxReady() corev1.PodCondition {
	c := corev1.PodCondition{Type: corev1.PodReadyToStartContainers, Status: corev1.ConditionFalse}
	sandbox := in.State.ReadySandbox()
	if sandbox != nil && (in.Pod.Spec.HostNetwork || len(sandbox.IPs) > 0) {
		c.Status = corev1.ConditionTrue
	}
	return c
}

func (in *Input) initialized(s *corev1.PodStatus) corev1.PodCondition {
	c := corev1.PodCondition{Type: corev1.PodInitialized, Status: corev1.ConditionTrue}
	if s.Phase == corev1.PodSucceeded {
		c.Reason = "PodCompleted"
		return c
	}
	var incomplete []string
	for i := range in.Pod.Spec.InitContainers {
		spec, state := &in.Pod.Spec.InitContainers[i], &s.InitContainerStatuses[i]
		if podstate.IsSidecar(spec) {
			if state.Started != nil && *state.Started || in.everInitialized(s) {
				continue
			}
		} else if state.Ready || in.everInitialized(s) && state.State.Waiting != nil {
			continue
		}
		incomplete = append(incomplete, spec.Name)
	}
	if len(incomplete) > 0 {
		c.Status, c.Reason = corev1.ConditionFalse, "ContainersNotInitialized"
		c.Message = fmt.Sprintf("containers with incomplete status: [%s]", strings.Join(incomplete, " "))
	}
	return c
}

func (in *Input) containersReady(s *corev1.PodStatus) corev1.PodCondition {
	c := corev1.PodCondition{Type: corev1.ContainersReady, Status: corev1.ConditionFalse}
	switch s.Phase {
	case corev1.PodSucceeded:
		c.Reason = "PodCompleted"
		return c
	case corev1.PodFailed:
		c.Reason = "PodFailed"
		return c
	}
	var unready []string
	for i := range in.Pod.Spec.InitContainers {
		if podstate.IsSidecar(&in.Pod.Spec.InitContainers[i]) && !s.InitContainerStatuses[i].Ready {
			unready = append(unready, in.Pod.Spec.InitContainers[i].Name)
		}
	}
	for i := range in.Pod.Spec.Containers {
		if name := in.Pod.Spec.Containers[i].Name; !find(s.ContainerStatuses, name).Ready {
			unready = append(unready, name)
		}
	}
	if len(unready) > 0 {
		c.Reason, c.Message = "ContainersNotReady", fmt.Sprintf("containers with unready status: [%s]", strings.Join(unready, " "))
		return c
	}
	c.Status = corev1.ConditionTrue
	return c
}

// ready: the containers are, and every readiness gate is open.
func (in *Input) ready(s *corev1.PodStatus) corev1.PodCondition {
	c := in.containersReady(s)
	c.Type = corev1.PodReady
	if c.Status != corev1.ConditionTrue {
		return c
	}
	var shut []string
	for _, gate := range in.Pod.Spec.ReadinessGates {
		open := false
		for _, have := range in.Pod.Status.Conditions {
			open = open || have.Type == gate.ConditionType && have.Status == corev1.ConditionTrue
		}
		if !open {
			shut = append(shut, fmt.Sprintf("corresponding condition of pod readiness gate %q does not exist or is not True.", gate.ConditionType))
		}
	}
	if len(shut) > 0 {
		c.Status, c.Reason, c.Message = corev1.ConditionFalse, "ReadinessGatesNotReady", strings.Join(shut, ", ")
	}
	return c
}
