// SPDX-License-Identifier: Apache-2.0

// Package status works out what to report of a pod (phase, conditions, container statuses) from its spec and from what the
// runtime holds, and stores it in the API. Working it out is pure.
package status

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"eastwest/internal/kubelet/podstate"
)

// Waiting is why a container does not run.
type Waiting struct{ Reason, Message string }

// Probes answers what the probes of a running container found so far.
type Probes interface {
	Started(containerID string) bool
	Ready(containerID string) bool
}

// Input is everything that a pod's status is made from.
type Input struct {
	Pod      *corev1.Pod
	Last     *corev1.PodStatus // what was reported before; keeps times of transition
	State    *podstate.State
	Probes   Probes
	Waiting  map[string]Waiting // by container: the last attempt to start it failed, or waits
	Starting map[string]bool    // by container: its post-start hook has not returned
	Ended    bool               // nothing of the pod will be started again
	Reason   string             // why the pod was ended by the node (Evicted, Terminated, Preempting, DeadlineExceeded), with Message
	Message  string
	Refused  bool                                   // the node never took it
	Applied  map[string]corev1.ResourceRequirements // by container id: what it runs with, where that is not what its spec says
	Resize   []corev1.PodCondition                  // of a change of resources that is not done
	HostIPs  []string
	Runtime  string // name of the runtime, the scheme of container ids
	Now      time.Time
}

// Generate returns the status to report.
func Generate(in Input) corev1.PodStatus {
	s := corev1.PodStatus{
		QOSClass: in.Pod.Status.QOSClass, StartTime: in.Last.StartTime, NominatedNodeName: in.Pod.Status.NominatedNodeName,
		Reason: in.Reason, Message: in.Message, ObservedGeneration: in.Pod.Generation,
	}
	if s.StartTime == nil {
		now := stamp(in.Now)
		s.StartTime = &now
	}
	addresses(&in, &s)
	s.InitContainerStatuses = in.containers(in.Pod.Spec.InitContainers, in.Last.InitContainerStatuses, true)
	s.ContainerStatuses = in.containers(in.Pod.Spec.Containers, in.Last.ContainerStatuses, false)
	s.EphemeralContainerStatuses = in.ephemeral()
	s.Phase = in.phase(&s)
	s.Conditions = in.conditions(&s)
	if in.Refused { // kubectl would show what the containers wait for, not why they never will be
		s.InitContainerStatuses, s.ContainerStatuses, s.EphemeralContainerStatuses = nil, nil, nil
	}
	return s
}

func addresses(in *Input, s *corev1.PodStatus) {
	for i, ip := range in.HostIPs {
		if i == 0 {
			s.HostIP = ip
		}
		s.HostIPs = append(s.HostIPs, corev1.HostIP{IP: ip})
	}
	var ips []string
	if sandbox := in.State.ReadySandbox(); sandbox != nil {
		if ips = sandbox.IPs; in.Pod.Spec.HostNetwork {
			ips = in.HostIPs
		}
	} else if len(in.State.Sandboxes) > 0 {
		for _, ip := range in.Last.PodIPs {
			ips = append(ips, ip.IP)
		}
	}
	for i, ip := range ips {
		if i == 0 {
			s.PodIP = ip
		}
		s.PodIPs = append(s.PodIPs, corev1.PodIP{IP: ip})
	}
}
