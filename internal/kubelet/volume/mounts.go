// SPDX-License-Identifier: Apache-2.0

package volume

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"eastwest/internal/kubelet/environment"
)

// Mounts returns what the container mounts of its pod's volumes, making sub-paths where they do not exist. recursive says whether the runtime can make a
// mount read-only with all that is mounted below it.
func (m *Manager) Mounts(pod *corev1.Pod, c *corev1.Container, env []environment.Variable, recursive bool) ([]*runtimeapi.Mount, error) {
	var out []*runtimeapi.Mount
	for i := range c.VolumeMounts {
		vm := &c.VolumeMounts[i]
		v := volumeNamed(pod, vm.Name)
		if v == nil {
			return nil, fmt.Errorf("container %s mounts volume %q, which pod %s/%s does not have", c.Name, vm.Name, pod.Namespace, pod.Name)
		}
		if v.Image != nil {
			out = append(out, &runtimeapi.Mount{
				ContainerPath: containerPath(vm.MountPath), Readonly: true, ImageSubPath: vm.SubPath,
				Image: &runtimeapi.ImageSpec{Image: v.Image.Reference, UserSpecifiedImage: v.Image.Reference},
			})
			continue
		}
		source, err := m.subPath(pod, c, i, m.Path(pod, v), env)
		if err != nil {
			return nil, err
		}
		deep, err := recursiveReadOnly(vm, recursive)
		if err != nil {
			return nil, err
		}
		out = append(out, &runtimeapi.Mount{
			ContainerPath: containerPath(vm.MountPath), HostPath: source, Propagation: propagation(vm.MountPropagation),
			Readonly:          vm.ReadOnly || v.ConfigMap != nil || v.Secret != nil || v.DownwardAPI != nil || v.Projected != nil,
			RecursiveReadOnly: deep,
		})
	}
	return out, nil
}

// recursiveReadOnly says whether what is mounted below is read-only as well. Who insists on that gets it or nothing.
func recursiveReadOnly(vm *corev1.VolumeMount, can bool) (bool, error) {
	if vm.RecursiveReadOnly == nil || !vm.ReadOnly || *vm.RecursiveReadOnly == corev1.RecursiveReadOnlyDisabled {
		return false, nil
	}
	if *vm.RecursiveReadOnly == corev1.RecursiveReadOnlyEnabled && !can {
		return false, fmt.Errorf("volume %q requested recursive read-only mode, but it is not supported by the runtime", vm.Name)
	}
	return can, nil
}

func containerPath(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join("/", path)
}

func volumeNamed(pod *corev1.Pod, name string) *corev1.Volume {
	for i := range pod.Spec.Volumes {
		if pod.Spec.Volumes[i].Name == name {
			return &pod.Spec.Volumes[i]
		}
	}
	return nil
}

func propagation(mode *corev1.MountPropagationMode) runtimeapi.MountPropagation {
	if mode == nil {
		return runtimeapi.MountPropagation_PROPAGATION_PRIVATE
	}
	switch *mode {
	case corev1.MountPropagationHostToContainer:
		return runtimeapi.MountPropagation_PROPAGATION_HOST_TO_CONTAINER
	case corev1.MountPropagationBidirectional:
		return runtimeapi.MountPropagation_PROPAGATION_BIDIRECTIONAL
	}
	return runtimeapi.MountPropagation_PROPAGATION_PRIVATE
}

// subPath returns the part of the volume that the mount shows. A part is bound to a place of our own while it is known to lie inside
// the volume, so that nothing in the pod can move it out by links afterwards.
func (m *Manager) subPath(pod *corev1.Pod, c *corev1.Container, index int, volume string, env []environment.Variable) (string, error) {
	vm := &c.VolumeMounts[index]
	part := vm.SubPath
	if vm.SubPathExpr != "" {
		expanded := environment.ExpandAll([]string{vm.SubPathExpr}, env)[0]
		if strings.Contains(expanded, "$(") {
			return "", fmt.Errorf("subPathExpr %q of volume %q names an environment variable that container %s does not have", vm.SubPathExpr, vm.Name, c.Name)
		}
		part = expanded
	}
	if part == "" {
		return volume, nil
	}
	target := filepath.Join(m.PodDir(string(pod.UID)), "volume-subpaths", vm.Name, c.Name, strconv.Itoa(index))
	if err := bindPart(volume, part, target); err != nil {
		return "", fmt.Errorf("failed to prepare subPath for volumeMount %q of container %q: %w", vm.Name, c.Name, err)
	}
	return target, nil
}

// TerminationFile makes the empty file that a container writes its last words to, and returns its path on the node.
func (m *Manager) TerminationFile(pod *corev1.Pod, container string, restarts int) (string, error) {
	dir := filepath.Join(m.PodDir(string(pod.UID)), "containers", container)
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return "", fmt.Errorf("make the directory of the termination message: %w", err)
	}
	path := filepath.Join(dir, strconv.Itoa(restarts))
	if err := os.WriteFile(path, nil, 0o666); err != nil {
		return "", fmt.Errorf("make the file of the termination message: %w", err)
	}
	return path, wrap("open the termination message to all users", os.Chmod(path, 0o666))
}

// HostsFile writes the pod's /etc/hosts and returns its path on the node.
func (m *Manager) HostsFile(pod *corev1.Pod, text string) (string, error) {
	path := filepath.Join(m.PodDir(string(pod.UID)), "etc-hosts")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		return "", fmt.Errorf("write the hosts file of pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	return path, nil
}
