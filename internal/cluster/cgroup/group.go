// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Group is the same path in every hierarchy.
type Group struct {
	hierarchies []Hierarchy
	path        string
}

// At names the group at path, relative to the hierarchies' mount points. It creates nothing.
func At(hierarchies []Hierarchy, path string) Group {
	return Group{hierarchies: hierarchies, path: filepath.Clean("/" + path)}
}

// Child names a group below g.
func (g Group) Child(name string) Group {
	return Group{hierarchies: g.hierarchies, path: filepath.Join(g.path, name)}
}

// Path is the group's path below each hierarchy's mount point.
func (g Group) Path() string { return g.path }

// Dirs are the group's folders, one for each hierarchy.
func (g Group) Dirs() []string {
	dirs := make([]string, 0, len(g.hierarchies))
	for _, h := range g.hierarchies {
		dirs = append(dirs, filepath.Join(h.Mount, g.path))
	}
	return dirs
}

// Make creates the group and what is missing above it, ready for processes. Version 2 controllers are handed down to
// every group on the way, except g itself: a group with processes of its own may not hand any down.
func (g Group) Make() error {
	var errs []error
	for _, h := range g.hierarchies {
		errs = append(errs, h.makePath(g.path))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("create control group %s: %w", g.path, err)
	}
	return nil
}

func (h Hierarchy) makePath(path string) error {
	dir := h.Mount
	for part := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		if h.Unified {
			handDown(dir)
		}
		parent := dir
		dir = filepath.Join(dir, part)
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		if err := inheritCPUs(parent, dir); err != nil {
			return err
		}
	}
	return nil
}

// handDown enables every controller of dir for its children. A controller that cannot be handed down (the group above
// has processes of its own, as inside a container) is left out: the node then runs without its limits.
func handDown(dir string) {
	available, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return
	}
	for controller := range strings.FieldsSeq(string(available)) {
		_ = os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+controller), 0o644)
	}
}

// inheritCPUs fills a version 1 cpuset, which starts empty and refuses processes until it names processors. Another
// program that makes the same group at the same time may not have come to that yet, so it is done for groups that are
// there already as well.
func inheritCPUs(parent, dir string) error {
	for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
		own, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		inherited, err := os.ReadFile(filepath.Join(parent, name))
		// In version 2 empty means inherited, and the topmost group has no such file.
		if errors.Is(err, fs.ErrNotExist) || len(strings.TrimSpace(string(own))) > 0 || len(strings.TrimSpace(string(inherited))) == 0 {
			continue
		}
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, name), inherited, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// JoinThread moves the calling thread, which must be locked, into the version 1 groups; children that it starts are there
// from their beginning. A thread that moves itself costs microseconds. Moving another process stops every fork and exit
// of the machine for a grace period, in each hierarchy. Version 2 moves whole processes only: see JoinUnified.
func (g Group) JoinThread() error {
	for _, h := range g.hierarchies {
		if h.Unified {
			continue
		}
		// 0 stands for the writer itself.
		if err := os.WriteFile(filepath.Join(h.Mount, g.path, "tasks"), []byte("0"), 0o644); err != nil {
			return fmt.Errorf("move a thread into control group %s: %w", g.path, err)
		}
	}
	return nil
}

// JoinUnified moves a process into the version 2 group, where there is that hierarchy.
func (g Group) JoinUnified(pid int) error {
	dir, ok := g.Unified()
	if !ok {
		return nil
	}
	if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0o644); err != nil {
		return fmt.Errorf("move process %d into control group %s: %w", pid, g.path, err)
	}
	return nil
}

// Unified returns the group's folder in the version 2 hierarchy, or false where there is none.
func (g Group) Unified() (string, bool) {
	for _, h := range g.hierarchies {
		if h.Unified {
			return filepath.Join(h.Mount, g.path), true
		}
	}
	return "", false
}

// Exists reports whether the group is there in any hierarchy.
func (g Group) Exists() bool {
	for _, dir := range g.Dirs() {
		if _, err := os.Stat(dir); err == nil {
			return true
		}
	}
	return false
}

// Hierarchies are the hierarchies that the group is in.
func (g Group) Hierarchies() []Hierarchy { return g.hierarchies }
