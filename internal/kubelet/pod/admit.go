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
// sysctls that the node's administrator allows as well; a name that ends in * stands for all that begin so.
func refusal(pod *corev1.Pod, unsafe []string) (reason, message string) {
	if os := pod.Spec.OS; os != nil && os.Name != corev1.Linux {
		return "PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS"
	}
	if pod.Spec.SecurityContext == nil {
		return "", ""
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
func (w *worker) admit(others []View) {
	if w.admitted {
		return
	}
	w.admitted = true
	if len(w.state.Sandboxes) > 0 || w.reason != "" || w.terminal() || w.leaving() {
		return // it was admitted before this agent started, or asks for nothing any more
	}
	reason, message := refusal(w.pod, w.m.config.UnsafeSysctls)
	if reason == "" && w.m.config.Refuse != nil {
		reason, message = w.m.config.Refuse(w.pod, render.QOS(w.pod) == corev1.PodQOSBestEffort)
	}
	if name, asked, used, capacity := short(w.pod, others, w.m.config.Allocatable()); reason == "" && name != "" && !render.IsCritical(w.pod) {
		reason, message = "OutOf"+string(name), lacks(name, asked, used, capacity)
	}
	if reason != "" {
		w.reason, w.message = reason, message
		w.m.config.Events.Pod(w.pod, "", corev1.EventTypeWarning, reason, "%s", message)
	}
}
