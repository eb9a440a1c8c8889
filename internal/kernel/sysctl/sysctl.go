// SPDX-License-Identifier: Apache-2.0

// Package sysctl reads and writes kernel parameters under /proc/sys.
//
// A parameter is named by its path with slashes ("net/ipv4/conf/eth0/forwarding"), because interface names may hold
// dots. Parameters of the network belong to the network namespace of the calling thread.
package sysctl

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const root = "/proc/sys"

// Get returns the value of a parameter without surrounding white space. A missing parameter gives an error that is
// os.ErrNotExist.
func Get(name string) (string, error) {
	file, err := path(name)
	if err != nil {
		return "", err
	}
	value, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("read sysctl %s: %w", name, err)
	}
	return strings.TrimSpace(string(value)), nil
}

// Set writes a parameter.
func Set(name, value string) error {
	file, err := path(name)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("set sysctl %s=%s: %w", name, value, err)
	}
	defer f.Close()
	if _, err := f.WriteString(value); err != nil {
		return fmt.Errorf("set sysctl %s=%s: %w", name, value, err)
	}
	return nil
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
