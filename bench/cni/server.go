// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// where plugins find who does their calls, as the package entry of eastwest has it.
const socket = "/run/eastwest/cni.2.sock"

// server is the process that does the calls of plugins.
type server struct{ process *os.Process }

// startServer starts it below a /run of its own.
func startServer(plugins string) (*server, error) {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return nil, fmt.Errorf("keep mounts to ourselves: %w", err)
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, "mode=0755"); err != nil {
		return nil, fmt.Errorf("mount /run: %w", err)
	}
	c := exec.Command(filepath.Join(plugins, "eastwest-cni"), "serve")
	c.Stderr = os.Stderr
	if err := c.Start(); err != nil {
		return nil, fmt.Errorf("start the server of plugins: %w", err)
	}
	for range 100 {
		if _, err := os.Stat(socket); err == nil {
			return &server{process: c.Process}, nil
		}
		time.Sleep(20 * time.Millisecond)
	}
	_ = c.Process.Kill()
	return nil, fmt.Errorf("the server of plugins made no socket %s", socket)
}

func (s *server) stop() {
	_ = s.process.Signal(unix.SIGTERM)
	_, _ = s.process.Wait()
}

// cpu is the processors' time that the server has used (clock of a process, CPUCLOCK_SCHED).
func (s *server) cpu() time.Duration {
	var t unix.Timespec
	if unix.ClockGettime(int32(^s.process.Pid<<3|2), &t) != nil {
		return 0
	}
	return time.Duration(t.Nano())
}

// hide makes plugins not find the server, until the function that it returns is called.
func (s *side) hide() (show func(), err error) {
	if !s.hidden {
		return func() {}, nil
	}
	if err := os.Rename(socket, socket+".hidden"); err != nil {
		return nil, err
	}
	return func() { _ = os.Rename(socket+".hidden", socket) }, nil
}

// cpu is the processors' time of the processes that a side started and that have ended, and of its server.
func (s *side) cpu() time.Duration {
	used := children()
	if s.server != nil && !s.hidden {
		used += s.server.cpu()
	}
	return used
}
