// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Sysctl is one switch of the host that was changed, with what is needed to change it back.
type Sysctl struct {
	// Path is its file below /proc/sys.
	Path string `json:"path"`
	// Before and Set are the values before and after.
	Before string `json:"before"`
	Set    string `json:"set"`
}

// forwardingFor is the switch that lets packets that come in by a link be forwarded.
func forwardingFor(link string) string { return filepath.Join("net/ipv4/conf", link, "forwarding") }

// WantForwarding lists what has to change so that the host forwards packets that come in by the links.
func WantForwarding(links []string) ([]Sysctl, error) {
	var changes []Sysctl
	for _, link := range links {
		path := forwardingFor(link)
		now, err := readSysctl(path)
		if err != nil {
			return nil, err
		}
		if now != "1" {
			changes = append(changes, Sysctl{Path: path, Before: now, Set: "1"})
		}
	}
	return changes, nil
}

// Apply makes the change.
func (s Sysctl) Apply() error { return writeSysctl(s.Path, s.Set) }

// Restore undoes the change. It leaves the switch alone when its link is gone, when somebody changed it since, and when
// forwarding has been switched on for the whole host meanwhile.
func (s Sysctl) Restore() error {
	now, err := readSysctl(s.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	all, err := readSysctl("net/ipv4/ip_forward")
	if err != nil {
		return err
	}
	if now != s.Set || all == "1" {
		return nil
	}
	return writeSysctl(s.Path, s.Before)
}

func readSysctl(path string) (string, error) {
	text, err := os.ReadFile(filepath.Join("/proc/sys", path))
	if err != nil {
		return "", fmt.Errorf("read sysctl: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

func writeSysctl(path, value string) error {
	if err := os.WriteFile(filepath.Join("/proc/sys", path), []byte(value), 0o644); err != nil {
		return fmt.Errorf("set sysctl %s to %s: %w", path, value, err)
	}
	return nil
}
