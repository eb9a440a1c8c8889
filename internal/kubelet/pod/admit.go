// SPDX-License-Identifier: Apache-2.0

package pod

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"eastwest/internal/kubelet/render"
)

// safeSysctls belong to a pod alone, and do no harm to others: those that Kubernetes lets every pod set.
var safeSysctls = []string{
	"kernel.shm_rmid_forced",
	"net.ipv4.ip_local_port_range", "net.ipv4.ip_local_reserved_ports", "net.ipv4.ip_unprivileged_port_start",
	"net.ipv4.ping_group_range", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes",
	"net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_rmem", "net.ipv4.tcp_syncookies", "net.ipv4.tcp_wmem",
}

// refusal says why this node does not run a pod, in the words of the kubelet; both are empty when it does. unsafe are the
// sysctls that the node's administrator allows as well; a name that ends in * stands for all that begin so. groups: whether the runtime can do without the
// groups of images.
func refusal(pod *corev1.Pod, unsafe []string, groups bool) (reason, message string) {
	if os := pod.Spec.OS; os != nil && os.Name != corev1.Linux {
		return "PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS"
	}
	if os, says := pod.Labels[corev1.LabelOSStable]; says && os != string(corev1.Linux) {
		return "PodOSSelectorNodeLabelDoesNotMatch", "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label"
	}
	if pod.Spec.SecurityContext == nil {
		return "", ""
	}
	if policy := pod.Spec.SecurityContext.SupplementalGroupsPolicy; policy != nil && *policy == corev1.SupplementalGroupsPolicyStrict && !groups {
		return "SupplementalGroupsPolicyNotSupported", fmt.Sprintf("SupplementalGroupsPolicy=%s is not supported in this node", *policy)
	}
	for _, sysctl := range pod.Spec.SecurityContext.Sysctls {
		name := strings.ReplaceAll(sysctl.Name, "/", ".")
		switch {
		case pod.Spec.HostNetwork && strings.HasPrefix(name, "net."):
			return "SysctlForbidden", fmt.Sprintf("forbidden sysctl: %q not allowed with host net enabled", sysctl.Name)
		case pod.Spec.HostIPC && (strings.HasPrefix(name, "kernel.shm") || strings.HasPrefix(name, "kernel.msg") || name == "kernel.sem" || strings.HasPrefix(name, "fs.mqueue.")):
			return "SysctlForbidden", fmt.Sprintf("forbidden sysctl: %q not allowed with host ipc enabled", sysctl.Name)
		case !allowed(name, safeSysctls) && !allowed(name, unsafe):
			return "SysctlForbidden", fmt.Sprintf("forbidden sysctl: %q not allowlisted", sysctl.Name)
		}
	}
	return "", ""
}

func allowed(name string, list []string) bool {
	return slices.ContainsFunc(list, func(pattern string) bool {
		prefix, any := strings.CutSuffix(strings.ReplaceAll(pattern, "/", "."), "*")
		return name == pattern || any && strings.HasPrefix(name, prefix)
	})
}

// admit refuses a pod that this node must not run, once, before anything of it is there. The caller holds the lock.
func (w *worker) admit(on *corev1.Node, others []View) {
	if w.admitted {
		return
	}
	w.admitted = true
	if len(w.state.Sandboxes) > 0 || w.reason != "" || w.terminal() || w.leaving() {
		return // it was admitted before this agent started, or asks for nothing any more
	}
	reason, message := refusal(w.pod, w.m.config.UnsafeSysctls, w.m.config.SupplementalGroups())
	if reason == "" && w.m.config.Refuse != nil {
		reason, message = w.m.config.Refuse(w.pod, render.QOS(w.pod) == corev1.PodQOSBestEffort)
	}
	if reason == "" {
		reason, message = w.findRoom(on, others)
	}
	if reason != "" {
		w.reason, w.message, w.refused = reason, rejected+message, true
		w.m.config.Events.Pod(w.pod, "", corev1.EventTypeWarning, reason, "%s", message)
	}
}

// rejected begins what a pod says that its node did not take.
const rejected = "Pod was rejected: "

// findRoom says why the node has no place for the pod. For a critical one others make room.
func (w *worker) findRoom(on *corev1.Node, others []View) (reason, message string) {
	missing := lacking(w.pod, others, w.m.config.Allocatable())
	if len(missing) == 0 || render.IsCritical(w.pod) {
		reason, message = misplaced(w.pod, on, others)
	}
	switch {
	case reason != "" || len(missing) == 0:
		return reason, message
	case !render.IsCritical(w.pod):
		return missing[0].reason(), missing[0].String()
	}
	chosen, err := victims(w.pod, others, missing)
	if err != nil {
		return "UnexpectedAdmissionError", "Unexpected error while attempting to recover from admission failure: " + err.Error()
	}
	for _, v := range chosen {
		w.log.Warn("a pod makes room for a critical one", "other", v.Pod.Namespace+"/"+v.Pod.Name)
		w.awaited = append(w.awaited, w.m.preempt(w.m.ctx, v.Pod.UID, w.poke))
	}
	w.m.config.Preempted(missing[0].name, len(chosen))
	return "", ""
}

// crowded says whether pods that make room for this one have not ended. The caller holds the lock.
func (w *worker) crowded() bool {
	w.awaited = slices.DeleteFunc(w.awaited, func(down <-chan struct{}) bool {
		select {
		case <-down:
			return true
		default:
			return false
		}
	})
	return len(w.awaited) > 0
}
