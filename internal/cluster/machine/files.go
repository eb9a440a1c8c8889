// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// ownDirs belong to a node alone: what the host has there must not show inside.
var ownDirs = [...]string{"/etc/cni", "/opt/cni", "/var/log/pods", "/var/log/containers"}

// writeFiles writes the host name and the files that name the machine and its neighbours. It runs inside.
func (m *Machine) writeFiles() error {
	if err := unix.Sethostname([]byte(m.config.Name)); err != nil {
		return fmt.Errorf("set the host name %s: %w", m.config.Name, err)
	}
	if err := m.emptyOwnDirs(); err != nil {
		return err
	}
	files := map[string]string{
		"/etc/hostname":    m.config.Name + "\n",
		"/etc/hosts":       hostsFile(m.config.Hosts),
		"/etc/resolv.conf": m.config.ResolvConf,
	}
	var errs []error
	for path, content := range files {
		errs = append(errs, replaceFile(path, content))
	}
	return errors.Join(errs...)
}

// emptyOwnDirs runs once in a machine's life; a mark in its state folder says that it did.
func (m *Machine) emptyOwnDirs() error {
	mark := filepath.Join(StateMount, ".machine")
	if _, err := os.Stat(mark); err == nil {
		return nil
	}
	for _, dir := range ownDirs {
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("empty %s: %w", dir, err)
		}
	}
	for _, dir := range []string{"/etc/cni/net.d", "/opt/cni/bin", "/var/log/pods", "/var/log/containers"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("create %s: %w", dir, err)
		}
	}
	return os.WriteFile(mark, []byte(m.config.Name+"\n"), 0o600)
}

// replaceFile writes a file that may be a symlink on the host, as systemd-resolved's resolv.conf is: the link is replaced,
// never followed.
func replaceFile(path, content string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("replace %s: %w", path, err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

func hostsFile(hosts []Host) string {
	var b strings.Builder
	b.WriteString("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n")
	for _, host := range hosts {
		fmt.Fprintf(&b, "%s\t%s\n", host.Address, host.Name)
	}
	return b.String()
}
