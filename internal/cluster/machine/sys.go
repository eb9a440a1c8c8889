// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"eastwest/internal/cluster/cgroup"
)

const cgroupRoot = "/sys/fs/cgroup"

// mountSys mounts a sysfs that shows the machine's own links, and control groups as its cgroup namespace shows them. It
// runs inside the namespaces, but reads the host's layout first.
func mountSys(group cgroup.Group) error {
	links, err := symlinks(cgroupRoot)
	if err != nil {
		return err
	}
	if err := unix.Mount("sysfs", "/sys", "sysfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /sys: %w", err)
	}
	// Both are conveniences: a kernel without them makes a machine without them.
	_ = unix.Mount("bpf", "/sys/fs/bpf", "bpf", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0700")
	_ = unix.Mount("tracefs", "/sys/kernel/tracing", "tracefs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	hierarchies := group.Hierarchies()
	if len(hierarchies) != 1 || hierarchies[0].Mount != cgroupRoot {
		if err := unix.Mount("tmpfs", cgroupRoot, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0755,size=1m"); err != nil {
			return fmt.Errorf("mount %s: %w", cgroupRoot, err)
		}
	}
	for _, h := range hierarchies {
		if err := mountHierarchy(h); err != nil {
			return err
		}
	}
	for name, target := range links {
		if err := os.Symlink(target, filepath.Join(cgroupRoot, name)); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

func mountHierarchy(h cgroup.Hierarchy) error {
	if err := os.MkdirAll(h.Mount, 0o755); err != nil {
		return err
	}
	kind := "cgroup"
	if h.Unified {
		kind = "cgroup2"
	}
	if err := unix.Mount("cgroup", h.Mount, kind, unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, h.Options); err != nil {
		return fmt.Errorf("mount control groups %q on %s: %w", h.Options, h.Mount, err)
	}
	return nil
}

// symlinks lists the links of a folder, such as cpu → cpu,cpuacct on a version 1 host.
func symlinks(dir string) (map[string]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", dir, err)
	}
	links := map[string]string{}
	for _, entry := range entries {
		if entry.Type()&fs.ModeSymlink == 0 {
			continue
		}
		target, err := os.Readlink(filepath.Join(dir, entry.Name()))
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", dir, err)
		}
		links[entry.Name()] = target
	}
	return links, nil
}
