// SPDX-License-Identifier: Apache-2.0

// Package cgroup makes and removes the control groups of whole pods, below which a runtime makes those of containers. It writes to
// whatever the node has: version 1 hierarchies, the version 2 hierarchy, or both.
package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Limits are a pod's shares and limits. Zero means none.
type Limits struct {
	CPUShares   int64 // cgroup v1 weight, 2 to 262144
	CPUQuota    int64 // microseconds in each 100 ms
	MemoryBytes int64
}

const period = 100_000

// Manager knows the hierarchies of the node.
type Manager struct {
	v1      map[string]string // controller → mount point, of those that pods are limited with
	others  []string          // further v1 mount points, where a runtime makes groups below ours
	unified string            // version 2 mount point, or empty
}

// Discover finds the hierarchies below root, usually /sys/fs/cgroup.
func Discover(root string) (*Manager, error) {
	m := &Manager{v1: map[string]string{}}
	if isUnified(root) {
		m.unified = root
		return m, nil
	}
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil, fmt.Errorf("list the cgroup hierarchies: %w", err)
	}
	for _, e := range entries {
		dir := filepath.Join(root, e.Name())
		if !e.IsDir() {
			continue // links such as cpu -> cpu,cpuacct
		}
		if isUnified(dir) {
			m.unified = dir
			continue
		}
		used := false
		for _, controller := range strings.Split(e.Name(), ",") {
			if controller == "cpu" || controller == "memory" {
				m.v1[controller], used = dir, true
			}
		}
		if !used {
			m.others = append(m.others, dir)
		}
	}
	return m, nil
}

func isUnified(dir string) bool {
	var s unix.Statfs_t
	return unix.Statfs(dir, &s) == nil && s.Type == unix.CGROUP2_SUPER_MAGIC
}

// Ensure makes the group at path, an absolute cgroupfs path, with these limits. What is there already is brought up to date.
func (m *Manager) Ensure(path string, l Limits) error {
	var errs []error
	if dir, ok := m.v1["cpu"]; ok {
		errs = append(errs, m.group(filepath.Join(dir, path), map[string]string{
			"cpu.shares": positive(l.CPUShares), "cpu.cfs_quota_us": positive(l.CPUQuota)}))
	}
	if dir, ok := m.v1["memory"]; ok {
		errs = append(errs, m.group(filepath.Join(dir, path), map[string]string{"memory.limit_in_bytes": positive(l.MemoryBytes)}))
	}
	if m.unified != "" && len(m.v1) == 0 {
		errs = append(errs, m.ensureUnified(path, l))
	}
	return errors.Join(errs...)
}

func positive(v int64) string {
	if v <= 0 {
		return ""
	}
	return strconv.FormatInt(v, 10)
}

func (m *Manager) group(dir string, values map[string]string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make the cgroup %s: %w", dir, err)
	}
	for file, value := range values {
		if value == "" {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, file), []byte(value), 0o644); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("set %s of cgroup %s: %w", file, dir, err)
		}
	}
	return nil
}

// ensureUnified passes the controllers down to the pod's group first. A controller that the node's own group was not given is left out.
func (m *Manager) ensureUnified(path string, l Limits) error {
	dir := m.unified
	for _, part := range strings.Split(strings.Trim(path, "/"), "/") {
		for _, controller := range []string{"+cpu", "+memory", "+pids"} {
			if err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte(controller), 0o644); err != nil && !lacking(err) {
				return fmt.Errorf("pass %s down to cgroup %s: %w", controller, dir, err)
			}
		}
		dir = filepath.Join(dir, part)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("make the cgroup %s: %w", dir, err)
		}
	}
	values := map[string]string{"memory.max": positive(l.MemoryBytes)}
	if l.CPUShares > 0 { // the kernel's ranges: shares 2..262144, weight 1..10000
		values["cpu.weight"] = strconv.FormatInt(1+(l.CPUShares-2)*9999/262142, 10)
	}
	if l.CPUQuota > 0 {
		values["cpu.max"] = fmt.Sprintf("%d %d", l.CPUQuota, period)
	}
	return m.group(dir, values)
}

func lacking(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EOPNOTSUPP)
}

// Processes returns how many processes and threads the group at path has, 0 where nobody counts.
func (m *Manager) Processes(path string) int64 {
	mounts := []string{m.unified}
	for _, dir := range m.others {
		if filepath.Base(dir) == "pids" {
			mounts = append(mounts, dir)
		}
	}
	for _, dir := range mounts {
		if text, err := os.ReadFile(filepath.Join(dir, path, "pids.current")); dir != "" && err == nil {
			n, _ := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64) // the kernel's own words
			return n
		}
	}
	return 0
}

// Remove removes the group at path and all below it, in every hierarchy. Nothing there is no error; a group with processes is one.
func (m *Manager) Remove(path string) error {
	var errs []error
	dirs := append([]string(nil), m.others...)
	for _, dir := range m.v1 {
		dirs = append(dirs, dir)
	}
	if m.unified != "" {
		dirs = append(dirs, m.unified)
	}
	for _, dir := range dirs {
		errs = append(errs, removeTree(filepath.Join(dir, path)))
	}
	return errors.Join(errs...)
}

func removeTree(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list the cgroup %s: %w", dir, err)
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeTree(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove the cgroup %s: %w", dir, err)
	}
	return nil
}
