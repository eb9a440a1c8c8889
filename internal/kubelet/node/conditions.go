// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const statusTimeout = 2 * time.Second

const shuttingDown = "node is shutting down"

// conditions looks at the node. Times of transition are those of the last look where nothing changed.
func (r *Reporter) conditions(ctx context.Context) []corev1.NodeCondition {
	problem := r.problem(ctx)
	if r.config.ShuttingDown() {
		problem = strings.TrimPrefix(problem+", "+shuttingDown, ", ")
	}
	now := metav1.Now()
	ready := condition(corev1.NodeReady, problem == "", "KubeletReady", "kubelet is posting ready status")
	if problem != "" {
		ready.Reason, ready.Message = "KubeletNotReady", problem
	}
	list := []corev1.NodeCondition{
		pressure(corev1.NodeMemoryPressure, r.config.Under(corev1.NodeMemoryPressure), "Memory", "memory available"),
		pressure(corev1.NodeDiskPressure, r.config.Under(corev1.NodeDiskPressure), "Disk", "disk pressure"),
		pressure(corev1.NodePIDPressure, r.config.Under(corev1.NodePIDPressure), "PID", "PID available"),
		ready,
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range list {
		list[i].LastHeartbeatTime, list[i].LastTransitionTime = now, now
		for _, last := range r.last {
			if last.Type == list[i].Type && last.Status == list[i].Status {
				list[i].LastTransitionTime = last.LastTransitionTime
			}
		}
	}
	return list
}

func condition(kind corev1.NodeConditionType, is bool, reason, message string) corev1.NodeCondition {
	c := corev1.NodeCondition{Type: kind, Status: corev1.ConditionFalse, Reason: reason, Message: message}
	if is {
		c.Status = corev1.ConditionTrue
	}
	return c
}

func pressure(kind corev1.NodeConditionType, is bool, what, message string) corev1.NodeCondition {
	switch {
	case is:
		return condition(kind, true, "KubeletHasInsufficient"+what, "kubelet has insufficient "+message)
	case kind == corev1.NodeDiskPressure:
		return condition(kind, false, "KubeletHasNoDiskPressure", "kubelet has no "+message)
	}
	return condition(kind, false, "KubeletHasSufficient"+what, "kubelet has sufficient "+message)
}

// problem asks the runtime whether pods can run, and returns why not.
func (r *Reporter) problem(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	if r.runtimeName() == unknown {
		version, err := r.config.Runtime.Version(ctx, &runtimeapi.VersionRequest{})
		if err != nil {
			return "container runtime is down: " + err.Error()
		}
		r.mu.Lock()
		r.runtime, r.version = version.GetRuntimeName(), version.GetRuntimeVersion()
		r.mu.Unlock()
	}
	answer, err := r.config.Runtime.Status(ctx, &runtimeapi.StatusRequest{})
	if err != nil {
		return "container runtime is down: " + err.Error()
	}
	r.can(answer)
	var problems []string
	for _, c := range answer.GetStatus().GetConditions() {
		if c.GetStatus() {
			continue
		}
		text := fmt.Sprintf("%s=false reason:%s message:%s", c.GetType(), c.GetReason(), c.GetMessage())
		switch c.GetType() {
		case runtimeapi.RuntimeReady:
			problems = append(problems, "container runtime not ready: "+text)
		case runtimeapi.NetworkReady:
			problems = append(problems, "container runtime network not ready: "+text)
		}
	}
	return strings.Join(problems, ", ")
}
