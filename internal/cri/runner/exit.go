// SPDX-License-Identifier: Apache-2.0

package runner

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Exit is how a container ended.
type Exit struct {
	// Code is the exit status, 128 + the signal where one ended it; UnknownExit when nobody was there to see.
	Code int
	At   time.Time
	// OOM is set when the kernel killed a process of it for memory.
	OOM bool
	// Known is false when the monitor was killed before it could write the exit status down.
	Known bool
}

// UnknownExit stands for an exit status that nobody recorded.
const UnknownExit = 255

// Await returns when a container has ended: its process is gone and its monitor has written the exit status, or is gone
// too. start and monitorStart are the StartTimes recorded for the two.
func (r *Runner) Await(ctx context.Context, c Container, pid, monitor int, start, monitorStart string) (Exit, error) {
	for _, p := range []struct {
		pid   int
		start string
	}{{pid, start}, {monitor, monitorStart}} {
		if p.pid == monitor {
			// The usual case: conmon was quicker than us.
			if exit, err := r.readExit(c); err == nil {
				return exit, nil
			}
		}
		if err := awaitProcess(ctx, p.pid, p.start); err != nil {
			return Exit{}, err
		}
	}
	exit, err := r.readExit(c)
	if errors.Is(err, os.ErrNotExist) {
		return Exit{Code: UnknownExit, At: time.Now()}, nil
	}
	return exit, err
}

func awaitProcess(ctx context.Context, pid int, start string) error {
	p, err := OpenProcess(pid, start)
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	if err != nil {
		return err
	}
	defer p.Close()
	return p.Wait(ctx)
}

// readExit reads what conmon wrote; os.ErrNotExist when it has not.
func (r *Runner) readExit(c Container) (Exit, error) {
	path := filepath.Join(r.exits, c.ID)
	raw, err := os.ReadFile(path)
	if err != nil {
		return Exit{}, fmt.Errorf("read exit status: %w", err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return Exit{}, fmt.Errorf("read exit status: %w", err)
	}
	code, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil {
		return Exit{}, fmt.Errorf("read exit status of container %s: %w", c.ID, err)
	}
	_, oom := os.Stat(filepath.Join(c.Bundle, oomFile))
	return Exit{Code: code, At: info.ModTime(), OOM: oom == nil, Known: true}, nil
}

// Forget removes the exit status of a container that is removed, and ends its monitor should it still be there.
func (r *Runner) Forget(c Container) error {
	if pid, err := readPID(filepath.Join(c.Bundle, monitorPIDFile)); err == nil {
		if alive, err := isMonitor(pid, c.ID); err == nil && alive {
			if p, err := OpenProcess(pid, ""); err == nil {
				_ = p.Signal(9) // it may just have left
				_ = p.Close()
			}
		}
	}
	if err := os.Remove(filepath.Join(r.exits, c.ID)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove exit status: %w", err)
	}
	return nil
}
