// SPDX-License-Identifier: Apache-2.0

// Package proc knows processes beyond the life of the program that started them: who a process is (its number and the
// moment it started, for numbers are used again), whether it still runs, and which processes are inside a namespace.
package proc

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// ID names one process for ever.
type ID struct {
	// PID is its process number.
	PID int `json:"pid"`
	// Started is when it started, in clock ticks since boot: field 22 of /proc/PID/stat (proc(5)).
	Started uint64 `json:"started"`
}

// ErrGone says that a process has ended.
var ErrGone = errors.New("process has ended")

// Of returns the identity of the process that has this number now, or ErrGone; a zombie has ended.
func Of(pid int) (ID, error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return ID{}, fmt.Errorf("process %d: %w", pid, ErrGone)
	}
	if err != nil {
		return ID{}, fmt.Errorf("read process %d: %w", pid, err)
	}
	state, started, err := parseStat(string(text))
	if err != nil {
		return ID{}, fmt.Errorf("read process %d: %w", pid, err)
	}
	if state == "Z" || state == "X" {
		return ID{}, fmt.Errorf("process %d: %w", pid, ErrGone)
	}
	return ID{PID: pid, Started: started}, nil
}

// parseStat reads the state and the start time. The command's name, in parentheses, may hold anything, so fields are
// counted from the last parenthesis: state is field 3, start time field 22.
func parseStat(text string) (state string, started uint64, err error) {
	end := strings.LastIndexByte(text, ')')
	if end < 0 {
		return "", 0, fmt.Errorf("stat %q has no command name", text)
	}
	fields := strings.Fields(text[end+1:])
	if len(fields) < 20 {
		return "", 0, fmt.Errorf("stat %q is too short", text)
	}
	started, err = strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return "", 0, fmt.Errorf("start time: %w", err)
	}
	return fields[0], started, nil
}

// Alive reports whether exactly this process still runs.
func (id ID) Alive() bool {
	now, err := Of(id.PID)
	return err == nil && now == id
}

// Signal sends a signal to exactly this process, never to another one that took its number. A process that has ended is
// no error.
func (id ID) Signal(signal unix.Signal) error {
	fd, err := unix.PidfdOpen(id.PID, 0)
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EINVAL) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open process %d: %w", id.PID, err)
	}
	defer unix.Close(fd)
	// The descriptor holds on to whoever has the number now, so the check after it cannot be overtaken.
	if !id.Alive() {
		return nil
	}
	if err := unix.PidfdSendSignal(fd, signal, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("signal process %d: %w", id.PID, err)
	}
	return nil
}
