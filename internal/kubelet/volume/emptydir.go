// SPDX-License-Identifier: Apache-2.0

package volume

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// emptyDir makes a directory that every user may write, on disk or in memory. It is made once in a pod's life.
func (m *Manager) emptyDir(pod *corev1.Pod, v *corev1.Volume) error {
	dir := m.Path(pod, v)
	if _, err := os.Stat(dir); err == nil && (v.EmptyDir.Medium != corev1.StorageMediumMemory || isMount(dir)) {
		return nil
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return fmt.Errorf("make the directory: %w", err)
	}
	mode := os.FileMode(0o777)
	switch v.EmptyDir.Medium {
	case corev1.StorageMediumDefault:
	case corev1.StorageMediumMemory:
		mode |= os.ModeSticky // as the kernel makes such a file system, and kubelets leave it
		options := "mode=1777"
		if limit := v.EmptyDir.SizeLimit; limit != nil && limit.Value() > 0 {
			options += fmt.Sprintf(",size=%d", limit.Value())
		}
		if err := mountMemory(dir, options); err != nil {
			return err
		}
	default:
		return fmt.Errorf("medium %q is not supported on this node: use \"\" or Memory", v.EmptyDir.Medium)
	}
	if err := os.Chmod(dir, mode); err != nil { // whatever the umask says
		return fmt.Errorf("open the directory to all users: %w", err)
	}
	return ownership(dir, fsGroup(pod), true)
}

func mountMemory(dir, options string) error {
	if isMount(dir) {
		return nil
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		return fmt.Errorf("mount a memory file system: %w", err)
	}
	return nil
}
