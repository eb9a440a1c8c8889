// SPDX-License-Identifier: Apache-2.0

package eviction

import (
	"fmt"
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// limited reports whether a pod's local storage has a limit of its own.
func limited(pod *corev1.Pod) bool {
	for i := range pod.Spec.Volumes {
		if e := pod.Spec.Volumes[i].EmptyDir; e != nil && e.SizeLimit != nil && e.SizeLimit.Sign() > 0 {
			return true
		}
	}
	for i := range pod.Spec.Containers {
		if quantity(pod.Spec.Containers[i].Resources.Limits, corev1.ResourceEphemeralStorage) > 0 {
			return true
		}
	}
	return false
}

// overLimit says which limit of its own a pod's local storage exceeds, or nothing. emptyDir measures one of its volumes.
func overLimit(pod *corev1.Pod, usage Usage, emptyDir func(volume string) int64) string {
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if v.EmptyDir == nil || v.EmptyDir.SizeLimit == nil || v.EmptyDir.SizeLimit.Sign() <= 0 {
			continue
		}
		if emptyDir(v.Name) > v.EmptyDir.SizeLimit.Value() {
			return fmt.Sprintf("Usage of EmptyDir volume %q exceeds the limit %q. ", v.Name, v.EmptyDir.SizeLimit)
		}
	}
	total, all := int64(0), len(pod.Spec.Containers) > 0
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		limit := c.Resources.Limits[corev1.ResourceEphemeralStorage]
		if limit.Sign() <= 0 {
			all = false
			continue
		}
		total += limit.Value()
		if usage.Containers[c.Name] > limit.Value() {
			return fmt.Sprintf("Container %s exceeded its local ephemeral storage limit %q. ", c.Name, &limit)
		}
	}
	if all && usage.Pod > total {
		return fmt.Sprintf("Pod ephemeral local storage usage exceeds the total limit of containers %s. ", resource.NewQuantity(total, resource.BinarySI))
	}
	return ""
}

// Size returns what a folder takes of its file system, in bytes and in inodes. What is mounted below it counts for itself, and what
// vanishes while it is looked at counts for nothing.
func Size(dir string) (bytes, inodes int64) {
	var top unix.Stat_t
	if unix.Lstat(dir, &top) != nil {
		return 0, 0
	}
	seen := map[uint64]bool{}
	_ = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		var s unix.Stat_t
		if err != nil || unix.Lstat(path, &s) != nil {
			return nil
		}
		if s.Dev != top.Dev {
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if !seen[s.Ino] {
			seen[s.Ino] = true
			bytes, inodes = bytes+s.Blocks*512, inodes+1
		}
		return nil
	})
	return bytes, inodes
}
