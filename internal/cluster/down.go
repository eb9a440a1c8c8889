// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"eastwest/internal/cluster/cgroup"
	"eastwest/internal/cluster/machine"
	"eastwest/internal/cluster/proc"
	"eastwest/internal/kernel/hostnet"
)

// Down removes every trace of a cluster and reports whether there was any. It works in any state: processes killed,
// half made, after a reboot, without a record.
func (c *Clusters) Down(ctx context.Context, name string) (found bool, err error) {
	if err := CheckName(name); err != nil {
		return false, err
	}
	if !c.traces(name) {
		return false, nil
	}
	if os.Geteuid() != 0 {
		return true, fmt.Errorf("remove cluster %q: this needs root: run it with sudo", name)
	}
	lock, err := lockDir(ctx, c.stateDir(name))
	if err != nil {
		return true, err
	}
	defer lock.Close()
	c.config.Progress("removing cluster " + name)
	return true, c.remove(ctx, name)
}

// traces reports whether anything of the cluster is there.
func (c *Clusters) traces(name string) bool {
	if _, err := os.Stat(filepath.Join(c.stateDir(name), recordFile)); err == nil {
		return true
	}
	if c.group(name).Exists() || hostnet.HasLink(hostnet.BridgeName(name)) {
		return true
	}
	for _, dir := range []string{filepath.Join(c.stateDir(name), "nodes"), c.runDir(name)} {
		if _, err := os.Stat(dir); err == nil {
			return true
		}
	}
	table, err := hostnet.HasTable(name)
	return err == nil && table
}

// remove takes everything away; each part is tried, whatever the others come to. The record goes last.
func (c *Clusters) remove(ctx context.Context, name string) error {
	record, err := loadRecord(c.stateDir(name))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.config.Log.Warn("remove by name alone", "cluster", name, "error", err)
	}
	err = c.removeRuntime(ctx, name)
	if record != nil {
		err = errors.Join(err, c.restoreForwarding(ctx, record))
	}
	err = errors.Join(err, removeKubeconfig(name, record))
	if err != nil {
		return fmt.Errorf("remove cluster %s: %w", name, err)
	}
	if err := c.removeState(name); err != nil {
		return fmt.Errorf("remove cluster %s: %w", name, err)
	}
	return nil
}

// removeRuntime ends the processes and removes what lives in the kernel: namespaces, mounts, links, rules, groups.
func (c *Clusters) removeRuntime(ctx context.Context, name string) error {
	record, _ := loadRecord(c.stateDir(name))
	if err := c.killAll(ctx, name); err != nil {
		return err
	}
	err := errors.Join(c.unpinAll(name), removeNetwork(name, record), c.group(name).Remove(ctx))
	cgroup.At(c.hierarchies, "eastwest").RemoveEmpty()
	if err != nil {
		return err
	}
	run := c.runDir(name)
	if err := unix.Unmount(run, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("unmount run folder %s: %w", run, err)
	}
	if err := os.RemoveAll(run); err != nil {
		return fmt.Errorf("remove run folder: %w", err)
	}
	removeEmpty(filepath.Dir(run), c.config.RunDir)
	return nil
}

// killAll ends every process of the cluster: by control group, by record, and by namespace.
func (c *Clusters) killAll(ctx context.Context, name string) error {
	err := c.group(name).Kill(ctx)
	dirs, _ := filepath.Glob(filepath.Join(c.runDir(name), "nodes", "*"))
	for _, dir := range dirs {
		m := machine.New(machine.Config{Name: filepath.Base(dir), RunDir: dir, Group: c.group(name).Child(filepath.Base(dir))})
		err = errors.Join(err, m.Kill(ctx))
	}
	records, listErr := proc.LoadDir(filepath.Join(c.runDir(name), "processes"))
	err = errors.Join(err, listErr)
	for _, record := range records {
		err = errors.Join(err, record.Signal(unix.SIGKILL))
	}
	return err
}

func (c *Clusters) unpinAll(name string) error {
	dirs, _ := filepath.Glob(filepath.Join(c.runDir(name), "nodes", "*"))
	unpins := make([]func() error, 0, len(dirs))
	for _, dir := range dirs {
		unpins = append(unpins, machine.New(machine.Config{RunDir: dir}).Unpin)
	}
	// Freeing a namespace waits for the kernel; all of them wait at once.
	return parallel(unpins...)
}

// removeState deletes the cluster's folder on disk. A mount below it would lead the deletion into foreign files, so there
// must be none.
func (c *Clusters) removeState(name string) error {
	dir := c.stateDir(name)
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return fmt.Errorf("list mounts: %w", err)
	}
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); len(fields) > 4 && strings.HasPrefix(fields[4], dir+"/") {
			return fmt.Errorf("%s is a mount point: unmount it, then run this again", fields[4])
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove state folder: %w", err)
	}
	removeEmpty(filepath.Dir(dir), c.config.StateDir)
	return nil
}

// removeEmpty removes folders in which nothing is left.
func removeEmpty(dirs ...string) {
	for _, dir := range dirs {
		_ = unix.Rmdir(dir)
	}
}
