// SPDX-License-Identifier: Apache-2.0

package volume

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	corev1 "k8s.io/api/core/v1"
)

func fsGroup(pod *corev1.Pod) *int64 {
	if pod.Spec.SecurityContext == nil {
		return nil
	}
	return pod.Spec.SecurityContext.FSGroup
}

// ownership gives everything below dir to the group, and lets the group read, and write when writable. New files in its directories
// belong to the group too. No group, no change.
func ownership(dir string, group *int64, writable bool) error {
	if group == nil {
		return nil
	}
	mask := fs.FileMode(0o440)
	if writable {
		mask = 0o660
	}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if err := os.Lchown(path, -1, int(*group)); err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil || info.Mode()&fs.ModeSymlink != 0 {
			return err
		}
		mode := info.Mode().Perm() | mask
		if info.IsDir() {
			mode |= fs.ModeSetgid | 0o110
		}
		return os.Chmod(path, mode|info.Mode()&(fs.ModeSetuid|fs.ModeSticky))
	})
	if err != nil {
		return fmt.Errorf("give the volume to group %d: %w", *group, err)
	}
	return nil
}

// commonUser returns the user that all containers run as when the pod names the same one for all, else nil.
func commonUser(pod *corev1.Pod) *int64 {
	var common *int64
	lists := [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers}
	for _, list := range lists {
		for i := range list {
			var user *int64
			if pod.Spec.SecurityContext != nil {
				user = pod.Spec.SecurityContext.RunAsUser
			}
			if sc := list[i].SecurityContext; sc != nil && sc.RunAsUser != nil {
				user = sc.RunAsUser
			}
			if user == nil || common != nil && *common != *user {
				return nil
			}
			common = user
		}
	}
	return common
}
