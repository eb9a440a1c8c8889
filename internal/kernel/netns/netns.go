// SPDX-License-Identifier: Apache-2.0

// Package netns creates, pins, enters and removes network namespaces.
//
// A namespace is named by a path: a bind mount of its nsfs file, as `ip netns` and CNI use it, or /proc/PID/ns/net. A
// goroutine never stays inside a namespace: Do runs a function on an operating-system thread of its own, which is
// thrown away if it cannot be brought back.
package netns

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// Create makes a new network namespace and pins it at path, which must not exist; missing parent folders are made. The
// loopback device is left down, as the kernel makes it. The caller removes the namespace with Remove.
func Create(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("create folder for network namespace %s: %w", path, err)
	}
	f, err := os.OpenFile(path, os.O_RDONLY|os.O_CREATE|os.O_EXCL, 0o444)
	if err != nil {
		return fmt.Errorf("create network namespace %s: %w", path, err)
	}
	_ = f.Close()
	if err := onThread(func() error { return unshareAndPin(path) }); err != nil {
		_ = os.Remove(path)
		return fmt.Errorf("create network namespace %s: %w", path, err)
	}
	return nil
}

// unshareAndPin leaves the calling thread in a namespace of its own, so it runs on a thread that is thrown away.
func unshareAndPin(path string) error {
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	if err := unix.Mount(threadNS(), path, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind mount: %w", err)
	}
	return nil
}

// Remove unpins the namespace at path; the kernel frees it when the last process and descriptor is gone. A path that
// does not exist is no error.
func Remove(path string) error {
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("unmount network namespace %s: %w", path, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove network namespace %s: %w", path, err)
	}
	return nil
}

// Do runs fn inside the network namespace at path and returns fn's error. Sockets that fn opens stay in that namespace.
// fn must not start goroutines that need the namespace: they run on other threads.
func Do(path string, fn func() error) error {
	target, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open network namespace %s: %w", path, err)
	}
	defer target.Close()
	return DoIn(target, fn)
}

// DoIn is Do in the namespace that target refers to, which stays the caller's.
func DoIn(target *os.File, fn func() error) error {
	return onThread(func() error {
		if err := unix.Setns(int(target.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter network namespace %s: %w", target.Name(), err)
		}
		return fn()
	})
}

// onThread runs fn on a locked thread and brings the thread back to its namespace afterwards. A thread that cannot be
// brought back stays locked, and so ends with its goroutine.
func onThread(fn func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		origin, err := os.Open(threadNS())
		if err != nil {
			runtime.UnlockOSThread()
			result <- fmt.Errorf("open the thread's network namespace: %w", err)
			return
		}
		defer origin.Close()
		err = fn()
		if unix.Setns(int(origin.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		result <- err
	}()
	return <-result
}

func threadNS() string { return fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()) }

// Same reports whether two paths name the same namespace.
func Same(a, b string) (bool, error) {
	var sa, sb unix.Stat_t
	if err := unix.Stat(a, &sa); err != nil {
		return false, fmt.Errorf("stat network namespace %s: %w", a, err)
	}
	if err := unix.Stat(b, &sb); err != nil {
		return false, fmt.Errorf("stat network namespace %s: %w", b, err)
	}
	return sa.Dev == sb.Dev && sa.Ino == sb.Ino, nil
}
