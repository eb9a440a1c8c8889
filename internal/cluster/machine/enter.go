// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Do runs fn on a thread that is inside the machine: its network, its file system, its host name. fn must not start
// goroutines that need the machine. The thread ends afterwards.
func (m *Machine) Do(fn func() error) error {
	return onThread(func() error {
		if err := m.enter(); err != nil {
			return err
		}
		return fn()
	})
}

// enter moves the calling thread, which must be locked and never be used again, into the machine.
func (m *Machine) enter() error {
	files := make([]*os.File, 0, len(pinned))
	defer func() {
		for _, f := range files {
			_ = f.Close()
		}
	}()
	for _, kind := range pinned {
		f, err := os.Open(m.pin(kind))
		if errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("node %s has no namespaces: start it first", m.config.Name)
		}
		if err != nil {
			return fmt.Errorf("enter node %s: %w", m.config.Name, err)
		}
		files = append(files, f)
	}
	// A mount namespace can only be entered by a thread that shares root and working folder with no other.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("enter node %s: unshare: %w", m.config.Name, err)
	}
	for i, f := range files {
		if err := unix.Setns(int(f.Fd()), 0); err != nil {
			return fmt.Errorf("enter node %s: namespace %s: %w", m.config.Name, pinned[i], err)
		}
	}
	if err := unix.Chdir("/"); err != nil {
		return fmt.Errorf("enter node %s: %w", m.config.Name, err)
	}
	return nil
}

// onThread runs fn on an operating-system thread of its own that ends with it. Never on the process's first thread:
// that one cannot end, and /proc/self shows its namespaces.
func onThread(fn func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// While this goroutine holds the first thread, the next one gets another.
			result <- onThread(fn)
			runtime.UnlockOSThread()
			return
		}
		result <- fn()
	}()
	return <-result
}
