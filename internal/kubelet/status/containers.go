// SPDX-License-Identifier: Apache-2.0

package status

import (
	"sort"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"eastwest/internal/kubelet/plan"
	"eastwest/internal/kubelet/podstate"
)

// stamp drops what the API does not store, so that a status equals what the API answers.
func stamp(t time.Time) metav1.Time { return metav1.Time{Time: t.Truncate(time.Second)} }

func (in *Input) containers(specs []corev1.Container, last []corev1.ContainerStatus, init bool) []corev1.ContainerStatus {
	var out []corev1.ContainerStatus
	for i := range specs {
		out = append(out, in.container(&specs[i], find(last, specs[i].Name), init))
	}
	if !init {
		sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	}
	return out
}

func (in *Input) ephemeral() []corev1.ContainerStatus {
	var out []corev1.ContainerStatus
	for i := range in.Pod.Spec.EphemeralContainers {
		spec := (*corev1.Container)(&in.Pod.Spec.EphemeralContainers[i].EphemeralContainerCommon)
		out = append(out, in.container(spec, find(in.Last.EphemeralContainerStatuses, spec.Name), false))
	}
	return out
}

func find(list []corev1.ContainerStatus, name string) *corev1.ContainerStatus {
	for i := range list {
		if list[i].Name == name {
			return &list[i]
		}
	}
	return nil
}

func (in *Input) container(spec *corev1.Container, last *corev1.ContainerStatus, init bool) corev1.ContainerStatus {
	started := false
	s := corev1.ContainerStatus{Name: spec.Name, Image: spec.Image, Started: &started}
	latest, previous := in.State.Latest(spec.Name), in.State.Previous(spec.Name)
	s.VolumeMounts = volumeMounts(spec, latest)
	if latest == nil {
		in.absent(&s, last)
		return s
	}
	s.ContainerID, s.RestartCount = containerID(in, latest), int32(latest.Restarts)
	s.Image, s.ImageID = latest.Image, latest.ImageID
	s.User = user(latest)
	if previous != nil && previous.Exited() {
		s.LastTerminationState.Terminated = terminated(in, previous)
	} else if last != nil {
		s.LastTerminationState = last.LastTerminationState
	}
	in.state(spec, latest, &s)
	if latest.Running() && s.State.Running != nil {
		started = in.Probes.Started(latest.ID)
		s.Ready = started && in.Probes.Ready(latest.ID)
		s.Resources = in.resources(spec, latest)
		s.AllocatedResources = spec.Resources.Requests
	}
	if init && !podstate.IsSidecar(spec) {
		s.Ready = latest.Exited() && latest.ExitCode == 0
	}
	return s
}

// absent: the runtime has no such container, because it was never made, or because its record was lost after it ran.
func (in *Input) absent(s *corev1.ContainerStatus, last *corev1.ContainerStatus) {
	waiting, known := in.Waiting[s.Name]
	switch {
	case last != nil && (last.State.Terminated != nil || last.State.Running != nil):
		s.RestartCount, s.ImageID, s.ContainerID = last.RestartCount, last.ImageID, last.ContainerID
		gone := last.State.Terminated
		if gone == nil {
			gone = &corev1.ContainerStateTerminated{ExitCode: 137, Reason: "ContainerStatusUnknown", ContainerID: last.ContainerID,
				Message: "The container could not be located when the pod was terminated"}
		}
		if in.Ended {
			s.State.Terminated = gone
			return
		}
		s.LastTerminationState.Terminated = gone
	case last != nil:
		s.LastTerminationState, s.RestartCount = last.LastTerminationState, last.RestartCount
	}
	if !known {
		waiting = Waiting{Reason: in.defaultReason()}
	}
	s.State.Waiting = &corev1.ContainerStateWaiting{Reason: waiting.Reason, Message: waiting.Message}
}

func (in *Input) defaultReason() string {
	if len(in.Pod.Spec.InitContainers) > 0 {
		return "PodInitializing"
	}
	return "ContainerCreating"
}

func (in *Input) state(spec *corev1.Container, c *podstate.Container, s *corev1.ContainerStatus) {
	waiting, waits := in.Waiting[spec.Name]
	switch {
	case c.Running() && in.Starting[spec.Name]:
		s.State.Waiting = &corev1.ContainerStateWaiting{Reason: in.defaultReason()}
	case c.Running():
		s.State.Running = &corev1.ContainerStateRunning{StartedAt: stamp(c.Started)}
	case c.Exited() && waits && !in.Ended && in.restarts(spec, c):
		s.LastTerminationState.Terminated = terminated(in, c)
		s.State.Waiting = &corev1.ContainerStateWaiting{Reason: waiting.Reason, Message: waiting.Message}
	case c.Exited():
		s.State.Terminated = terminated(in, c)
	default:
		if !waits {
			waiting.Reason = in.defaultReason()
		}
		s.State.Waiting = &corev1.ContainerStateWaiting{Reason: waiting.Reason, Message: waiting.Message}
	}
}

func (in *Input) restarts(spec *corev1.Container, c *podstate.Container) bool {
	return plan.ShouldRestart(in.Pod, spec, c.ExitCode)
}

func terminated(in *Input, c *podstate.Container) *corev1.ContainerStateTerminated {
	reason := c.Reason
	if reason == "" {
		if reason = "Error"; c.ExitCode == 0 {
			reason = "Completed"
		}
	}
	return &corev1.ContainerStateTerminated{
		ExitCode: c.ExitCode, Reason: reason, Message: c.Message, ContainerID: containerID(in, c),
		StartedAt: stamp(c.Started), FinishedAt: stamp(c.Finished),
	}
}

func containerID(in *Input, c *podstate.Container) string { return in.Runtime + "://" + c.ID }

func (in *Input) resources(spec *corev1.Container, c *podstate.Container) *corev1.ResourceRequirements {
	has, known := in.Applied[c.ID]
	if !known {
		has = spec.Resources
	}
	return &corev1.ResourceRequirements{Requests: has.Requests, Limits: has.Limits}
}

func user(c *podstate.Container) *corev1.ContainerUser {
	linux := c.User.GetLinux()
	if linux == nil || c.State == runtimeapi.ContainerState_CONTAINER_CREATED {
		return nil
	}
	return &corev1.ContainerUser{Linux: &corev1.LinuxContainerUser{
		UID: linux.GetUid(), GID: linux.GetGid(), SupplementalGroups: linux.GetSupplementalGroups()}}
}
