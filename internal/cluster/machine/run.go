// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"
)

// Streams are a command's standard streams; nil means none.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// Run runs a command inside the machine and waits for it. Its error is an *exec.ExitError when the command failed. The
// command is killed when ctx ends.
func (m *Machine) Run(ctx context.Context, env []string, streams Streams, command ...string) error {
	var cmd *exec.Cmd
	err := m.Do(func() error {
		path, err := lookPath(command[0], env)
		if err != nil {
			return fmt.Errorf("node %s: %w", m.config.Name, err)
		}
		cmd = exec.CommandContext(ctx, path, command[1:]...)
		cmd.Args[0] = command[0]
		cmd.Env, cmd.Dir = env, "/"
		cmd.Stdin, cmd.Stdout, cmd.Stderr = streams.In, streams.Out, streams.Err
		return cmd.Start()
	})
	if err != nil {
		return fmt.Errorf("run %s: %w", command[0], err)
	}
	return cmd.Wait()
}

// Exec replaces this program by a command inside the machine, with this program's standard streams and terminal. It
// returns only an error.
func (m *Machine) Exec(env []string, command ...string) error {
	group := m.config.Group.Child("exec")
	if err := group.Make(); err != nil {
		return err
	}
	if err := group.JoinUnified(os.Getpid()); err != nil {
		return err
	}
	return onThread(func() error {
		// The thread that calls execve(2) is the one that is left, so its version 1 groups are the program's.
		if err := group.JoinThread(); err != nil {
			return err
		}
		if err := m.enter(); err != nil {
			return err
		}
		path, err := lookPath(command[0], env)
		if err != nil {
			return fmt.Errorf("node %s: %w", m.config.Name, err)
		}
		if err := unix.Exec(path, command, env); err != nil {
			return fmt.Errorf("run %s in node %s: %w", path, m.config.Name, err)
		}
		return nil
	})
}
