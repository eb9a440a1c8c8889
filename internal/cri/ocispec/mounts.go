// SPDX-License-Identifier: Apache-2.0

package ocispec

import (
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// mounts lists all mounts, parents before what is mounted below them, and the propagation that the root needs so that
// the volumes' own works.
func mounts(in Input) (list []specs.Mount, propagation string) {
	list = systemMounts(in)
	for _, m := range in.Mounts {
		if !mountedAt(in.Volumes, m.Destination) {
			list = append(list, m)
		}
	}
	list = slices.DeleteFunc(list, func(m specs.Mount) bool { return mountedAt(in.Volumes, m.Destination) })
	volumes := slices.Clone(in.Volumes)
	slices.SortStableFunc(volumes, func(a, b specs.Mount) int { return depth(a.Destination) - depth(b.Destination) })
	for _, m := range volumes {
		if slices.Contains(m.Options, "rshared") {
			propagation = "rshared"
		} else if slices.Contains(m.Options, "rslave") && propagation == "" {
			propagation = "rslave"
		}
	}
	return append(list, volumes...), propagation
}

func mountedAt(list []specs.Mount, path string) bool {
	return slices.ContainsFunc(list, func(m specs.Mount) bool { return filepath.Clean(m.Destination) == filepath.Clean(path) })
}

func depth(path string) int { return strings.Count(filepath.Clean(path), "/") }

// systemMounts are the file systems that every Linux container has (runtime specification, "Default Filesystems").
func systemMounts(in Input) []specs.Mount {
	access := "ro"
	if in.privileged() {
		access = "rw"
	}
	return []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", access}},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"nosuid", "noexec", "nodev", "relatime", access}},
	}
}
