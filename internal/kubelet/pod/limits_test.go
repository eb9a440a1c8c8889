// SPDX-License-Identifier: Apache-2.0

package pod

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"eastwest/internal/kubelet/cgroup"
)

func list(cpu, memory string) corev1.ResourceList {
	out := corev1.ResourceList{}
	if cpu != "" {
		out[corev1.ResourceCPU] = resource.MustParse(cpu)
	}
	if memory != "" {
		out[corev1.ResourceMemory] = resource.MustParse(memory)
	}
	return out
}

func needs(requests, limits corev1.ResourceList) corev1.ResourceRequirements {
	return corev1.ResourceRequirements{Requests: requests, Limits: limits}
}

// A pod's own group has room for what runs at the same time.
func TestPodLimits(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	half := needs(list("500m", "64Mi"), list("500m", "64Mi"))
	two := []corev1.Container{{Resources: half}, {Resources: half}}
	whole := needs(list("250m", "32Mi"), list("2", "1Gi"))
	for name, c := range map[string]struct {
		spec corev1.PodSpec
		want cgroup.Limits
	}{
		"none":                           {corev1.PodSpec{Containers: []corev1.Container{{}}}, cgroup.Limits{CPUShares: 2}},
		"the sum":                        {corev1.PodSpec{Containers: two}, cgroup.Limits{CPUShares: 1024, CPUQuota: 100_000, MemoryBytes: 128 << 20}},
		"one without":                    {corev1.PodSpec{Containers: append([]corev1.Container{{}}, two...)}, cgroup.Limits{CPUShares: 1024}},
		"a larger init container":        {corev1.PodSpec{Containers: two, InitContainers: []corev1.Container{{Resources: needs(nil, list("3", "1Gi"))}}}, cgroup.Limits{CPUShares: 1024, CPUQuota: 300_000, MemoryBytes: 1 << 30}},
		"a sidecar runs beside":          {corev1.PodSpec{Containers: two, InitContainers: []corev1.Container{{RestartPolicy: &always, Resources: half}}}, cgroup.Limits{CPUShares: 1536, CPUQuota: 150_000, MemoryBytes: 192 << 20}},
		"the pod's own, above the sum":   {corev1.PodSpec{Containers: two, Resources: &whole}, cgroup.Limits{CPUShares: 256, CPUQuota: 200_000, MemoryBytes: 1 << 30}},
		"the pod's own, containers none": {corev1.PodSpec{Containers: []corev1.Container{{}}, Resources: &whole}, cgroup.Limits{CPUShares: 256, CPUQuota: 200_000, MemoryBytes: 1 << 30}},
		"overhead":                       {corev1.PodSpec{Containers: two, Overhead: list("100m", "16Mi")}, cgroup.Limits{CPUShares: 1126, CPUQuota: 110_000, MemoryBytes: 144 << 20}},
	} {
		if got := podLimits(&corev1.Pod{Spec: c.spec}); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}
