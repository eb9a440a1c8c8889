// SPDX-License-Identifier: Apache-2.0

package status

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"eastwest/internal/kubelet/podstate"
)

// volumeMounts says of each volume of a container where it is, and whether what is mounted below a read-only one is read-only as well: what came of a wish.
func volumeMounts(spec *corev1.Container, c *podstate.Container) []corev1.VolumeMountStatus {
	var out []corev1.VolumeMountStatus
	for i := range spec.VolumeMounts {
		vm := &spec.VolumeMounts[i]
		s := corev1.VolumeMountStatus{Name: vm.Name, MountPath: vm.MountPath, ReadOnly: vm.ReadOnly}
		if vm.ReadOnly {
			s.RecursiveReadOnly = new(corev1.RecursiveReadOnlyDisabled)
			if c != nil && slices.ContainsFunc(c.Mounts, func(m *runtimeapi.Mount) bool {
				return m.GetContainerPath() == vm.MountPath && m.GetRecursiveReadOnly()
			}) {
				s.RecursiveReadOnly = new(corev1.RecursiveReadOnlyEnabled)
			}
		}
		out = append(out, s)
	}
	return out
}
