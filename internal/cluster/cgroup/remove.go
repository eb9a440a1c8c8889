// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"eastwest/internal/cluster/proc"
)

// PIDs lists the processes of the group and of all groups below it, sorted. A group that is not there has none.
func (g Group) PIDs() []int {
	var pids []int
	for _, dir := range g.Dirs() {
		for _, group := range tree(dir) {
			pids = append(pids, members(group)...)
		}
	}
	slices.Sort(pids)
	return slices.Compact(pids)
}

func members(dir string) []int {
	text, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	if err != nil {
		return nil
	}
	var pids []int
	for field := range strings.FieldsSeq(string(text)) {
		// 0 stands for a process of a PID namespace that we cannot see.
		if pid, err := strconv.Atoi(field); err == nil && pid > 0 {
			pids = append(pids, pid)
		}
	}
	return pids
}

// tree lists dir and the groups below it, deepest first.
func tree(dir string) []string {
	var dirs []string
	_ = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			dirs = append(dirs, path)
		}
		return nil
	})
	slices.Reverse(dirs)
	return dirs
}

// Kill ends every process in the group with SIGKILL, thawing frozen ones, and returns when none is left or ctx ends. The
// caller itself is spared.
func (g Group) Kill(ctx context.Context) error {
	for {
		g.killOnce()
		left := running(g.PIDs())
		if len(left) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("kill the processes of control group %s: %v are still there: %w", g.path, left, ctx.Err())
		case <-time.After(2 * time.Millisecond):
		}
	}
}

func (g Group) killOnce() {
	for _, h := range g.hierarchies {
		dir := filepath.Join(h.Mount, g.path)
		if h.Unified {
			_ = os.WriteFile(filepath.Join(dir, "cgroup.kill"), []byte("1"), 0o644)
			continue
		}
		for _, group := range tree(dir) {
			_ = os.WriteFile(filepath.Join(group, "freezer.state"), []byte("THAWED"), 0o644)
		}
	}
	for _, pid := range running(g.PIDs()) {
		_ = unix.Kill(pid, unix.SIGKILL)
	}
}

// running leaves out zombies, which are dead and wait only for their parent, and the caller: a thread of it that made a
// cgroup namespace may not have ended yet.
func running(pids []int) []int {
	return slices.DeleteFunc(pids, func(pid int) bool {
		_, err := proc.Of(pid)
		return err != nil || pid == os.Getpid()
	})
}

// Remove deletes the group and all groups below it, in every hierarchy. Groups that are not there are no error; a
// group whose last process is still leaving is waited for until ctx ends.
func (g Group) Remove(ctx context.Context) error {
	var errs []error
	for _, dir := range g.Dirs() {
		errs = append(errs, removeTree(ctx, dir))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove control group %s: %w", g.path, err)
	}
	return nil
}

func removeTree(ctx context.Context, dir string) error {
	for {
		var last error
		for _, group := range tree(dir) {
			if err := unix.Rmdir(group); err != nil && !errors.Is(err, unix.ENOENT) {
				last = fmt.Errorf("rmdir %s: %w", group, err)
			}
		}
		if last == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(last, ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// RemoveEmpty deletes the group itself where nothing is left in it, and leaves it otherwise.
func (g Group) RemoveEmpty() {
	for _, dir := range g.Dirs() {
		_ = unix.Rmdir(dir)
	}
}
