// SPDX-License-Identifier: Apache-2.0

// Package cgroup reads what containers use from control groups, of version 1, 2, or both at once, and removes groups
// that runc was killed too early to remove.
package cgroup

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// How often a group is tried to be removed whose processes are ending, and how long to wait in between.
const (
	emptyTries = 100
	emptyPause = 10 * time.Millisecond
)

// Hierarchy is where the machine's control groups are mounted.
type Hierarchy struct {
	// v1 maps a controller to its mount point; empty where everything is unified.
	v1 map[string]string
	// v2 is the mount point of the unified hierarchy, which may have no controllers; "" without one.
	v2 string
}

// Find reads the mounts of this process.
func Find() (*Hierarchy, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("find control groups: %w", err)
	}
	defer f.Close()
	h := &Hierarchy{v1: map[string]string{}}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		h.add(lines.Text())
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("find control groups: %w", err)
	}
	if len(h.v1) == 0 && h.v2 == "" {
		return nil, errors.New("find control groups: none are mounted; mount cgroup2 at /sys/fs/cgroup")
	}
	return h, nil
}

// add looks at one line of mountinfo (man 5 proc_pid_mountinfo).
func (h *Hierarchy) add(line string) {
	left, right, ok := strings.Cut(line, " - ")
	before, after := strings.Fields(left), strings.Fields(right)
	if !ok || len(before) < 5 || len(after) < 3 || !strings.HasPrefix(before[4], "/sys/fs/cgroup") {
		return
	}
	switch after[0] {
	case "cgroup2":
		h.v2 = before[4]
	case "cgroup":
		for _, option := range strings.Split(after[2], ",") {
			h.v1[option] = before[4]
		}
	}
}

// Unified reports whether all controllers are in the version 2 hierarchy.
func (h *Hierarchy) Unified() bool { return h.v2 != "" && h.v1["memory"] == "" && h.v1["cpu"] == "" }

// Has reports whether a controller is in the version that runc uses: 2 only where that has all of them.
func (h *Hierarchy) Has(controller string) bool {
	if !h.Unified() {
		return h.v1[controller] != ""
	}
	available, err := os.ReadFile(filepath.Join(h.v2, "cgroup.controllers"))
	return err == nil && slices.Contains(strings.Fields(string(available)), controller)
}

// SwapAccounting reports whether a limit on memory and swap together can be set.
func (h *Hierarchy) SwapAccounting() bool {
	if h.Unified() {
		return true
	}
	_, err := os.Stat(filepath.Join(h.v1["memory"], "memory.memsw.limit_in_bytes"))
	return err == nil
}

// dirs are the folders that a group has in all hierarchies.
func (h *Hierarchy) dirs(group string) []string {
	var out []string
	for _, mount := range h.v1 {
		if dir := filepath.Join(mount, group); !slices.Contains(out, dir) {
			out = append(out, dir)
		}
	}
	if h.v2 != "" {
		out = append(out, filepath.Join(h.v2, group))
	}
	return out
}

// Kill sends SIGKILL to every process of a group, and again until none is left or the kernel is as fast in starting new
// ones; a group that is not there is no error.
func (h *Hierarchy) Kill(group string) error {
	if group == "" || filepath.Clean(group) == "/" {
		return errors.New("kill control group: refused for the root group")
	}
	var errs []error
	for range 5 {
		pids := h.Processes(group)
		if len(pids) == 0 {
			return nil
		}
		errs = errs[:0]
		for _, pid := range pids {
			if err := unix.Kill(pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
				errs = append(errs, fmt.Errorf("kill process %d of %s: %w", pid, group, err))
			}
		}
	}
	return errors.Join(errs...)
}

// Empty kills the processes of a group and removes it. It waits a moment for what was killed to leave.
func (h *Hierarchy) Empty(group string) error {
	if dir := h.v1["freezer"]; dir != "" {
		// A runtime that was killed may have left it frozen, and then nothing in it ends.
		_ = os.WriteFile(filepath.Join(dir, group, "freezer.state"), []byte("THAWED"), 0o644)
	}
	for try := 0; ; try++ {
		err := h.Kill(group)
		if err == nil {
			err = h.Remove(group)
		}
		if !errors.Is(err, unix.EBUSY) || try == emptyTries {
			return err
		}
		time.Sleep(emptyPause)
	}
}

// Processes lists the processes of a group itself, not of groups below it.
func (h *Hierarchy) Processes(group string) []int {
	var out []int
	for _, dir := range h.dirs(group) {
		raw, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		if err != nil {
			continue
		}
		for _, field := range strings.Fields(string(raw)) {
			if pid, err := strconv.Atoi(field); err == nil && !slices.Contains(out, pid) {
				out = append(out, pid)
			}
		}
	}
	return out
}

// Remove removes a group without processes from all hierarchies; one that is not there is no error.
func (h *Hierarchy) Remove(group string) error {
	var errs []error
	for _, dir := range h.dirs(group) {
		if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, fmt.Errorf("remove control group %s: %w", dir, err))
		}
	}
	return errors.Join(errs...)
}
