// SPDX-License-Identifier: Apache-2.0

package render

import (
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// maskedPaths and readonlyPaths hide what of /proc and /sys is the host's, for procMount: Default.
func maskedPaths() []string {
	return []string{"/proc/asound", "/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
		"/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware", "/sys/devices/virtual/powercap"}
}

func readonlyPaths() []string {
	return []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
}

// Namespaces returns which namespaces the pod shares with the node, and its containers with each other.
func Namespaces(pod *corev1.Pod) *runtimeapi.NamespaceOption {
	o := &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_CONTAINER}
	if pod.Spec.HostNetwork {
		o.Network = runtimeapi.NamespaceMode_NODE
	}
	if pod.Spec.HostIPC {
		o.Ipc = runtimeapi.NamespaceMode_NODE
	}
	if pod.Spec.HostPID {
		o.Pid = runtimeapi.NamespaceMode_NODE
	} else if s := pod.Spec.ShareProcessNamespace; s != nil && *s {
		o.Pid = runtimeapi.NamespaceMode_POD
	}
	return o
}

// Security returns the security context of one container: its own settings over those of its pod.
func Security(pod *corev1.Pod, c *corev1.Container, node Node) *runtimeapi.LinuxContainerSecurityContext {
	own, shared := c.SecurityContext, pod.Spec.SecurityContext
	if own == nil {
		own = &corev1.SecurityContext{}
	}
	if shared == nil {
		shared = &corev1.PodSecurityContext{}
	}
	s := &runtimeapi.LinuxContainerSecurityContext{
		NamespaceOptions: Namespaces(pod), SupplementalGroups: supplementalGroups(shared),
		SupplementalGroupsPolicy: groupsPolicy(shared), Privileged: truth(own.Privileged),
		ReadonlyRootfs: truth(own.ReadOnlyRootFilesystem), Capabilities: capabilities(own.Capabilities),
		NoNewPrivs: own.AllowPrivilegeEscalation != nil && !*own.AllowPrivilegeEscalation,
		Seccomp:    seccomp(own.SeccompProfile, shared.SeccompProfile, truth(own.Privileged), node.SeccompDir),
		Apparmor:   apparmor(own.AppArmorProfile, shared.AppArmorProfile),
	}
	s.RunAsUser = number(firstOf(own.RunAsUser, shared.RunAsUser))
	s.RunAsGroup = number(firstOf(own.RunAsGroup, shared.RunAsGroup))
	s.SelinuxOptions = selinux(own.SELinuxOptions, shared.SELinuxOptions)
	if !s.Privileged && (own.ProcMount == nil || *own.ProcMount == corev1.DefaultProcMount) {
		s.MaskedPaths, s.ReadonlyPaths = maskedPaths(), readonlyPaths()
	}
	return s
}

// RunAsNonRoot says whether the container must not run as user 0.
func RunAsNonRoot(pod *corev1.Pod, c *corev1.Container) bool {
	if c.SecurityContext != nil && c.SecurityContext.RunAsNonRoot != nil {
		return *c.SecurityContext.RunAsNonRoot
	}
	return pod.Spec.SecurityContext != nil && truth(pod.Spec.SecurityContext.RunAsNonRoot)
}

func truth(b *bool) bool { return b != nil && *b }

func firstOf[T any](own, shared *T) *T {
	if own != nil {
		return own
	}
	return shared
}

func number(v *int64) *runtimeapi.Int64Value {
	if v == nil {
		return nil
	}
	return &runtimeapi.Int64Value{Value: *v}
}

func supplementalGroups(shared *corev1.PodSecurityContext) []int64 {
	groups := append([]int64(nil), shared.SupplementalGroups...)
	if shared.FSGroup != nil {
		groups = append(groups, *shared.FSGroup)
	}
	return groups
}

func groupsPolicy(shared *corev1.PodSecurityContext) runtimeapi.SupplementalGroupsPolicy {
	if p := shared.SupplementalGroupsPolicy; p != nil && *p == corev1.SupplementalGroupsPolicyStrict {
		return runtimeapi.SupplementalGroupsPolicy_Strict
	}
	return runtimeapi.SupplementalGroupsPolicy_Merge
}

func capabilities(c *corev1.Capabilities) *runtimeapi.Capability {
	if c == nil {
		return nil
	}
	out := &runtimeapi.Capability{}
	for _, name := range c.Add {
		out.AddCapabilities = append(out.AddCapabilities, string(name))
	}
	for _, name := range c.Drop {
		out.DropCapabilities = append(out.DropCapabilities, string(name))
	}
	return out
}

func selinux(own, shared *corev1.SELinuxOptions) *runtimeapi.SELinuxOption {
	o := firstOf(own, shared)
	if o == nil {
		return nil
	}
	return &runtimeapi.SELinuxOption{User: o.User, Role: o.Role, Type: o.Type, Level: o.Level}
}

// seccomp names a profile of the node by its whole path: runtimes know no other.
func seccomp(own, shared *corev1.SeccompProfile, privileged bool, dir string) *runtimeapi.SecurityProfile {
	p := firstOf(own, shared)
	if p == nil || privileged || p.Type == corev1.SeccompProfileTypeUnconfined {
		return &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Unconfined}
	}
	if p.Type == corev1.SeccompProfileTypeLocalhost && p.LocalhostProfile != nil {
		return &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Localhost, LocalhostRef: filepath.Join(dir, *p.LocalhostProfile)}
	}
	return &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_RuntimeDefault}
}

func apparmor(own, shared *corev1.AppArmorProfile) *runtimeapi.SecurityProfile {
	p := firstOf(own, shared)
	switch {
	case p == nil:
		return nil
	case p.Type == corev1.AppArmorProfileTypeUnconfined:
		return &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Unconfined}
	case p.Type == corev1.AppArmorProfileTypeLocalhost && p.LocalhostProfile != nil:
		return &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_Localhost, LocalhostRef: *p.LocalhostProfile}
	}
	return &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_RuntimeDefault}
}
