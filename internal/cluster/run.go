// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"eastwest/internal/cluster/machine"
	"eastwest/internal/cluster/proc"
)

// Names of a cluster's processes, of their records, logs and control groups.
const (
	processServer = "server"
	processAgent  = "agent"
	processRelay  = "dns-relay"
)

// run makes the nodes and waits until they serve. What is there already is left as it is, so run also starts what was
// stopped.
func (c *Clusters) run(ctx context.Context, r *Record, nodes []Node, wait time.Duration) error {
	limited, cancel := context.WithTimeoutCause(ctx, wait, fmt.Errorf("cluster %s does not serve after %s", r.Name, wait))
	defer cancel()
	c.config.Progress(fmt.Sprintf("preparing %s on %s", count(len(nodes), "node"), list(r.NodeCIDRs)))
	if err := c.prepare(r); err != nil {
		return err
	}
	w := newWatch(limited)
	defer w.stop()
	if r.Relay {
		if err := w.follow("", func() (*machine.Process, error) { return c.startRelay(r) }); err != nil {
			return err
		}
	}
	steps := []func() error{func() error { return w.guard(c.config.Programs.Ready(w.ctx, c.readyTarget(r, nodes))) }}
	for _, node := range nodes {
		steps = append(steps, func() error { return w.guard(c.startNode(w, r, node)) })
	}
	err := w.verdict(parallel(steps...))
	if err != nil && limited.Err() != nil {
		return c.late(ctx, limited, r, nodes, err)
	}
	return err
}

// late explains a cluster that did not serve in time, with the ends of the logs: after a failed Up they are removed.
func (c *Clusters) late(ctx, limited context.Context, r *Record, nodes []Node, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("interrupted while starting cluster %s: %w", r.Name, ctx.Err())
	}
	err = fmt.Errorf("%w: %w", context.Cause(limited), err)
	for _, node := range nodes {
		for _, process := range r.expected(node) {
			log := c.machine(r, node).LogFile(process)
			if text := tail(log); text != "" {
				err = fmt.Errorf("%w\n%s on node %s ends its log %s with:\n%s", err, process, node.Name, log, text)
			}
		}
	}
	return err
}

// prepare makes the run folder, the network's host side and the machines' folder for pins.
func (c *Clusters) prepare(r *Record) error {
	if err := c.mountRunDir(r.Name); err != nil {
		return err
	}
	return ensureNetwork(r)
}

// mountRunDir gives the cluster's run-time files a mount that does not propagate and that a reboot empties.
func (c *Clusters) mountRunDir(name string) error {
	dir := c.runDir(name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("create run folder: %w", err)
	}
	if isMountPoint(dir) {
		return nil
	}
	if err := unix.Mount("eastwest", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0700,size=16m"); err != nil {
		return fmt.Errorf("mount run folder %s: %w", dir, err)
	}
	if err := unix.Mount("", dir, "", unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make run folder %s private: %w", dir, err)
	}
	return nil
}

// isMountPoint compares the folder's device with its parent's: run folders are file systems of their own.
func isMountPoint(dir string) bool {
	var own, parent unix.Stat_t
	return unix.Stat(dir, &own) == nil && unix.Stat(filepath.Dir(dir), &parent) == nil && own.Dev != parent.Dev
}

// startRelay starts the DNS relay on the host's bridge address.
func (c *Clusters) startRelay(r *Record) (*machine.Process, error) {
	dir := filepath.Join(c.runDir(r.Name), "processes")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create run folder: %w", err)
	}
	if isRunning(dir, processRelay) {
		return nil, nil
	}
	spec := machine.Spec{
		Name: processRelay, Command: c.config.Programs.Relay(r, c.config.ProgramDir),
		Env: os.Environ(), Log: filepath.Join(c.stateDir(r.Name), processRelay+".log"),
	}
	return machine.Launch(spec, c.group(r.Name).Child("host"), dir)
}

// isRunning reports whether the process that is recorded under this name still runs.
func isRunning(dir, name string) bool {
	record, err := proc.Load(filepath.Join(dir, name+".json"))
	return err == nil && record != nil && record.Alive()
}

// ensureMachine makes a node's machine and joins it to the network.
func (c *Clusters) ensureMachine(ctx context.Context, r *Record, node Node) error {
	if err := c.machine(r, node).Create(ctx); err != nil {
		return err
	}
	return c.attach(r, node)
}

// parallel runs all functions at the same time and joins their errors.
func parallel(functions ...func() error) error {
	errs := make([]error, len(functions))
	var group sync.WaitGroup
	for i, function := range functions {
		group.Go(func() { errs[i] = function() })
	}
	group.Wait()
	return errors.Join(errs...)
}

// list writes addresses or ranges as flags take them.
func list[T fmt.Stringer](all []T) string {
	texts := make([]string, len(all))
	for i, one := range all {
		texts[i] = one.String()
	}
	return strings.Join(texts, ",")
}

func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// nodeEnv is the environment of processes in nodes.
func (r *Record) nodeEnv() []string {
	env := []string{
		"PATH=" + strings.Join(append([]string{machine.ProgramMount}, r.RuntimePath...), ":") + ":/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/root", "LANG=C.UTF-8",
		"KUBECONFIG=" + serverDataDir + "/admin.kubeconfig",
	}
	for _, variable := range os.Environ() {
		// What a person sets for our programs reaches them; the rest of a person's environment does not.
		if strings.HasPrefix(variable, "EASTWEST_") || strings.HasPrefix(variable, "GODEBUG=") || strings.HasPrefix(variable, "TERM=") {
			env = append(env, variable)
		}
	}
	return env
}
