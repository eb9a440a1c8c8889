// SPDX-License-Identifier: Apache-2.0

// Package sysctl reads and writes kernel parameters under /proc/sys.
//
// A parameter is named by its path with slashes ("net/ipv4/conf/eth0/forwarding"), because interface names may hold
// dots. Parameters of the network belong to the network namespace of the calling thread.
package sysctl

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const root = "/proc/sys"

// Get returns the value of a parameter without surrounding white space. A missing parameter gives an error that is
// os.ErrNotExist.
func Get(name string) (string, error) {
	file, err := path(name)
	if err != nil {
		return "", err
	}
	fd, err := open(file, unix.O_RDONLY)
	if err != nil {
		return "", fmt.Errorf("read sysctl %s: %w", name, err)
	}
	defer unix.Close(fd)
	buf := make([]byte, os.Getpagesize()) // no parameter is longer
	n, err := unix.Read(fd, buf)
	if err != nil {
		return "", fmt.Errorf("read sysctl %s: %w", name, &os.PathError{Op: "read", Path: file, Err: err})
	}
	return strings.TrimSpace(string(buf[:n])), nil
}

// Set writes a parameter.
func Set(name, value string) error {
	file, err := path(name)
	if err != nil {
		return err
	}
	fd, err := open(file, unix.O_WRONLY)
	if err != nil {
		return fmt.Errorf("set sysctl %s=%s: %w", name, value, err)
	}
	defer unix.Close(fd)
	if _, err := unix.Write(fd, []byte(value)); err != nil {
		return fmt.Errorf("set sysctl %s=%s: %w", name, value, &os.PathError{Op: "write", Path: file, Err: err})
	}
	return nil
}

// open passes Go's poller by, which takes such files for ones to wait for: six system calls more, and another thread awake.
func open(file string, mode int) (int, error) {
	for {
		fd, err := unix.Open(file, mode|unix.O_CLOEXEC, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return -1, &os.PathError{Op: "open", Path: file, Err: err}
		}
		return fd, nil
	}
}

// Ensure writes a parameter only when it differs, so that it also works where /proc/sys is read-only and already right.
func Ensure(name, value string) error {
	if have, err := Get(name); err == nil && have == value {
		return nil
	}
	return Set(name, value)
}

// path refuses names that leave /proc/sys: interface names reach here from network configurations.
func path(name string) (string, error) {
	if !filepath.IsLocal(name) {
		return "", fmt.Errorf("sysctl %q is not a name below %s", name, root)
	}
	return filepath.Join(root, name), nil
}
