// SPDX-License-Identifier: Apache-2.0

package render

import (
	"errors"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"eastwest/internal/kubelet/podstate"
)

// Sandbox returns the configuration of a pod's sandbox. host is the node's own resolver.
func Sandbox(pod *corev1.Pod, attempt uint32, node Node, host Resolver) (*runtimeapi.PodSandboxConfig, error) {
	if users := pod.Spec.HostUsers; users != nil && !*users {
		// Never run with more rights than asked for: runtimes that do not know the request would ignore it.
		return nil, errors.New("hostUsers is false, and this node gives no pod user namespaces of its own: leave it out, or choose another node")
	}
	config := &runtimeapi.PodSandboxConfig{
		Metadata: &runtimeapi.PodSandboxMetadata{
			Name: pod.Name, Namespace: pod.Namespace, Uid: string(pod.UID), Attempt: attempt},
		LogDirectory: node.LogDirectory(pod.Namespace, pod.Name, string(pod.UID)),
		DnsConfig:    DNS(pod, node, host),
		PortMappings: portMappings(pod),
		Labels:       podstate.SandboxLabels(pod),
		Annotations:  pod.Annotations,
		Linux: &runtimeapi.LinuxPodSandboxConfig{
			CgroupParent: node.CgroupParent(pod), SecurityContext: sandboxSecurity(pod), Sysctls: sysctls(pod)},
	}
	if pod.Spec.HostNetwork {
		return config, nil
	}
	_, _, uts, err := Hostname(pod, node.ClusterDomain)
	config.Hostname = uts
	return config, err
}

// portMappings returns the ports of the node that lead to the pod. A host-network pod needs none.
func portMappings(pod *corev1.Pod) []*runtimeapi.PortMapping {
	if pod.Spec.HostNetwork {
		return nil
	}
	var out []*runtimeapi.PortMapping
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			for _, p := range list[i].Ports {
				if p.HostPort > 0 {
					out = append(out, &runtimeapi.PortMapping{
						Protocol: protocol(p.Protocol), ContainerPort: p.ContainerPort, HostPort: p.HostPort, HostIp: p.HostIP})
				}
			}
		}
	}
	return out
}

func protocol(p corev1.Protocol) runtimeapi.Protocol {
	switch p {
	case corev1.ProtocolUDP:
		return runtimeapi.Protocol_UDP
	case corev1.ProtocolSCTP:
		return runtimeapi.Protocol_SCTP
	}
	return runtimeapi.Protocol_TCP
}

func sysctls(pod *corev1.Pod) map[string]string {
	if pod.Spec.SecurityContext == nil || len(pod.Spec.SecurityContext.Sysctls) == 0 {
		return nil
	}
	out := map[string]string{}
	for _, s := range pod.Spec.SecurityContext.Sysctls {
		out[s.Name] = s.Value
	}
	return out
}

func sandboxSecurity(pod *corev1.Pod) *runtimeapi.LinuxSandboxSecurityContext {
	s := &runtimeapi.LinuxSandboxSecurityContext{
		NamespaceOptions: Namespaces(pod), Privileged: anyPrivileged(pod),
		// Whatever the pod's containers may do, a runtime's own process in the sandbox works with this one.
		Seccomp: &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_RuntimeDefault},
	}
	shared := pod.Spec.SecurityContext
	if shared == nil {
		return s
	}
	s.RunAsUser, s.RunAsGroup = number(shared.RunAsUser), number(shared.RunAsGroup)
	s.SupplementalGroups, s.SupplementalGroupsPolicy = supplementalGroups(shared), groupsPolicy(shared)
	s.SelinuxOptions = selinux(nil, shared.SELinuxOptions)
	return s
}

func anyPrivileged(pod *corev1.Pod) bool {
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if sc := list[i].SecurityContext; sc != nil && truth(sc.Privileged) {
				return true
			}
		}
	}
	return false
}
