// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"eastwest/internal/cluster/machine"
)

// startNode makes a node and starts its processes: the server on the control plane, and an agent as soon as the
// server has written its token, which is before it serves.
func (c *Clusters) startNode(w *watch, r *Record, node Node) error {
	if err := c.ensureMachine(w.ctx, r, node); err != nil {
		return err
	}
	if node.Role == RoleControlPlane {
		if err := c.startServer(w, r, node); err != nil {
			return err
		}
	}
	if err := c.install(w.ctx, r, node); err != nil {
		return err
	}
	if err := c.startRuntime(w, r, node); err != nil {
		return err
	}
	if err := c.giveToken(w.ctx, r, node); err != nil {
		return err
	}
	return w.follow(node.Name, func() (*machine.Process, error) {
		return c.startIn(r, node, processAgent, c.config.Programs.Agent(r, node))
	})
}

func (c *Clusters) startServer(w *watch, r *Record, node Node) error {
	if err := os.MkdirAll(filepath.Dir(c.serverFile(r, "token")), 0o700); err != nil {
		return fmt.Errorf("create the server's folder: %w", err)
	}
	return w.follow(node.Name, func() (*machine.Process, error) {
		return c.startIn(r, node, processServer, c.config.Programs.Server(r))
	})
}

// startIn starts a process of a node, unless it runs already or there is nothing to run; then it returns nil.
func (c *Clusters) startIn(r *Record, node Node, name string, command []string) (*machine.Process, error) {
	m := c.machine(r, node)
	records, err := m.Processes()
	if err != nil || len(command) == 0 || records[name].Alive() {
		return nil, err
	}
	if err := m.MountPrograms(); err != nil {
		return nil, err
	}
	return m.Start(machine.Spec{Name: name, Command: command, Env: r.nodeEnv(), Log: m.LogFile(name)})
}

// install puts the CNI plugins into the node.
func (c *Clusters) install(ctx context.Context, r *Record, node Node) error {
	command := c.config.Programs.Install()
	if len(command) == 0 {
		return nil
	}
	m := c.machine(r, node)
	if err := m.MountPrograms(); err != nil {
		return err
	}
	var output bytes.Buffer
	if err := m.Run(ctx, r.nodeEnv(), machine.Streams{Out: &output, Err: &output}, command...); err != nil {
		return fmt.Errorf("install the CNI plugins on node %s: %w: %s", node.Name, err, bytes.TrimSpace(output.Bytes()))
	}
	return nil
}

// serverFile is the host's path of a file in the server's data folder.
func (c *Clusters) serverFile(r *Record, name string) string {
	return filepath.Join(c.machine(r, r.ControlPlane()).Lib(), "server", name)
}

// giveToken waits for the server's join token and gives the node a copy.
func (c *Clusters) giveToken(ctx context.Context, r *Record, node Node) error {
	token, err := awaitFile(ctx, c.serverFile(r, "token"))
	if err != nil {
		return fmt.Errorf("wait for the server's join token: %w", err)
	}
	dir := filepath.Join(c.machine(r, node).Lib(), "agent")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("create the agent's folder on node %s: %w", node.Name, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "token"), token, 0o600); err != nil {
		return fmt.Errorf("give node %s its token: %w", node.Name, err)
	}
	return nil
}

// awaitFile returns the content of a file as soon as it is there and not empty.
func awaitFile(ctx context.Context, file string) ([]byte, error) {
	for {
		content, err := os.ReadFile(file)
		if err == nil && len(content) > 0 {
			return content, nil
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("%s: %w", file, context.Cause(ctx))
		case <-time.After(20 * time.Millisecond):
		}
	}
}
