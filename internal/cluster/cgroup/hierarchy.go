// SPDX-License-Identifier: Apache-2.0

// Package cgroup gives every local node a control group of its own, in every hierarchy that this machine mounts:
// version 1, version 2, or both side by side.
//
//	/proc/self/mountinfo ─▶ Hierarchies ─▶ Group (one path in all of them) ─▶ join, list, kill, remove
package cgroup

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// Hierarchy is one mounted control group file system.
type Hierarchy struct {
	// Mount is where it is mounted, for example /sys/fs/cgroup/memory.
	Mount string
	// Unified is set for version 2.
	Unified bool
	// Options are the mount options that name a version 1 hierarchy: "cpu,cpuacct" or "name=systemd".
	Options string
}

// Hierarchies lists the hierarchies that are mounted below /sys/fs/cgroup.
func Hierarchies() ([]Hierarchy, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list control group mounts: %w", err)
	}
	defer f.Close()
	found, err := parse(f)
	if err != nil {
		return nil, fmt.Errorf("list control group mounts: %w", err)
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("no control groups are mounted below /sys/fs/cgroup: mount them (mount -t cgroup2 cgroup2 /sys/fs/cgroup)")
	}
	return found, nil
}

// parse reads mountinfo (proc(5)): fixed fields, optional fields up to "-", then type, source and super options.
func parse(r io.Reader) ([]Hierarchy, error) {
	var found []Hierarchy
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		before, after, ok := strings.Cut(lines.Text(), " - ")
		left, right := strings.Fields(before), strings.Fields(after)
		if !ok || len(left) < 5 || len(right) < 3 {
			continue
		}
		mount := left[4]
		if mount != "/sys/fs/cgroup" && filepath.Dir(mount) != "/sys/fs/cgroup" {
			continue
		}
		switch right[0] {
		case "cgroup2":
			found = append(found, Hierarchy{Mount: mount, Unified: true})
		case "cgroup":
			found = append(found, Hierarchy{Mount: mount, Options: identity(right[2])})
		}
	}
	return found, lines.Err()
}

// identity keeps the super options that say which hierarchy it is, and so can be given to mount(2) again.
func identity(options string) string {
	var keep []string
	for option := range strings.SplitSeq(options, ",") {
		switch {
		case option == "rw" || option == "ro" || option == "xattr" || option == "clone_children":
		case strings.HasPrefix(option, "release_agent="):
		default:
			keep = append(keep, option)
		}
	}
	return strings.Join(keep, ",")
}
