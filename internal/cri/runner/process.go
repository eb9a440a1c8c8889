// SPDX-License-Identifier: Apache-2.0

package runner

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Process is a process of the machine that is not our child, held so that its number cannot come to mean another.
type Process struct {
	file *os.File
	pid  int
}

// OpenProcess takes hold of a process. start is what StartTime gave for it once, or "" where it cannot have ended
// before; os.ErrProcessDone says that this process is gone. The caller closes it.
func OpenProcess(pid int, start string) (*Process, error) {
	if pid <= 0 {
		return nil, os.ErrProcessDone
	}
	fd, err := unix.PidfdOpen(pid, unix.O_NONBLOCK)
	if errors.Is(err, unix.ESRCH) {
		return nil, os.ErrProcessDone
	}
	if err != nil {
		return nil, fmt.Errorf("open process %d: %w", pid, err)
	}
	p := &Process{file: os.NewFile(uintptr(fd), "pidfd"), pid: pid}
	if start != "" {
		if now, err := StartTime(pid); err != nil || now != start {
			_ = p.Close()
			return nil, os.ErrProcessDone
		}
	}
	return p, nil
}

// StartTime identifies a process beyond its number: the clock tick in which it started, since the machine did.
func StartTime(pid int) (string, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", fmt.Errorf("read start time of process %d: %w", pid, err)
	}
	// The second field is the program's name in parentheses, which may hold anything.
	rest := string(raw[strings.LastIndexByte(string(raw), ')')+1:])
	fields := strings.Fields(rest)
	if len(fields) < 20 {
		return "", fmt.Errorf("read start time of process %d: unexpected format", pid)
	}
	return fields[19], nil
}

// Wait returns when the process has ended (also as a zombie that its parent has not seen yet), or ctx.
func (p *Process) Wait(ctx context.Context) error {
	conn, err := p.file.SyscallConn()
	if err != nil {
		return fmt.Errorf("wait for process %d: %w", p.pid, err)
	}
	done := make(chan error, 1)
	go func() {
		done <- conn.Read(func(fd uintptr) bool {
			fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
			n, err := unix.Poll(fds, 0)
			return err == nil && n > 0
		})
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Signal sends a signal; a process that has ended is no error.
func (p *Process) Signal(sig syscall.Signal) error {
	conn, err := p.file.SyscallConn()
	if err != nil {
		return fmt.Errorf("signal process %d: %w", p.pid, err)
	}
	var sent error
	if err := conn.Control(func(fd uintptr) { sent = unix.PidfdSendSignal(int(fd), sig, nil, 0) }); err != nil {
		return fmt.Errorf("signal process %d: %w", p.pid, err)
	}
	if sent != nil && !errors.Is(sent, unix.ESRCH) {
		return fmt.Errorf("signal process %d: %w", p.pid, sent)
	}
	return nil
}

// Close lets go of the process, which goes on; a Wait under way ends.
func (p *Process) Close() error { return p.file.Close() }
