// SPDX-License-Identifier: Apache-2.0

// Package render turns an API pod into the configuration that a CRI runtime takes: sandbox, containers, security, resources, DNS,
// hosts file. It is pure: everything it needs is in its arguments.
//
//	pod + node facts + resolved environment and mounts → PodSandboxConfig, ContainerConfig
package render

import (
	"net/netip"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
)

// Node holds the facts of this node that pods' configurations depend on.
type Node struct {
	Name          string
	IPs           []netip.Addr
	ClusterDNS    []netip.Addr
	ClusterDomain string
	LogDir        string // /var/log/pods
	SeccompDir    string // of profiles that pods name
	CgroupRoot    string // cgroupfs path above kubepods, "" for the hierarchy's root
	MemoryBytes   int64  // capacity
	CPUs          int64  // capacity
}

// LogDirectory is where the containers' logs of a pod are.
func (n Node) LogDirectory(namespace, name, uid string) string {
	return filepath.Join(n.LogDir, namespace+"_"+name+"_"+uid)
}

// CgroupParent is the cgroup of a pod, as a path of the cgroupfs driver.
func (n Node) CgroupParent(pod *corev1.Pod) string {
	base := filepath.Join("/", n.CgroupRoot, "kubepods")
	switch QOS(pod) {
	case corev1.PodQOSBestEffort:
		base = filepath.Join(base, "besteffort")
	case corev1.PodQOSBurstable:
		base = filepath.Join(base, "burstable")
	}
	return filepath.Join(base, "pod"+string(pod.UID))
}

// SystemCritical is the priority from which on a cluster does not work without a pod: that of the class system-cluster-critical.
const SystemCritical = 2_000_000_000

// Priority is the pod's, 0 where it has none.
func Priority(pod *corev1.Pod) int32 {
	if pod.Spec.Priority == nil {
		return 0
	}
	return *pod.Spec.Priority
}

// IsCritical says whether the node runs the pod whatever else it is short of: one of its own, or one that the cluster does not work without.
func IsCritical(pod *corev1.Pod) bool { return IsStatic(pod) || Priority(pod) >= SystemCritical }

// IsStatic says whether the pod came from a manifest on the node instead of the API.
func IsStatic(pod *corev1.Pod) bool {
	source, ok := pod.Annotations["kubernetes.io/config.source"]
	return ok && source != "api"
}
