// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
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

// forwardingFor is the switch that lets packets of a family that come in by a link be forwarded. For IPv6 it came with Linux
// 6.17; before, there is one for the whole host, which makes a router of it, and that is left to its administrator.
func forwardingFor(link string, ipv6 bool) string {
	if ipv6 {
		return filepath.Join("net/ipv6/conf", link, "force_forwarding")
	}
	return filepath.Join("net/ipv4/conf", link, "forwarding")
}

// WantForwarding lists what has to change so that the host forwards packets of a family that come in by the links.
func WantForwarding(links []string, ipv6 bool) ([]Sysctl, error) {
	var changes []Sysctl
	for _, link := range links {
		path := forwardingFor(link, ipv6)
		now, err := readSysctl(path)
		if ipv6 && errors.Is(err, fs.ErrNotExist) {
			continue
		}
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
	if now != s.Set {
		return nil
	}
	if strings.HasPrefix(s.Path, "net/ipv4/") {
		if all, err := readSysctl("net/ipv4/ip_forward"); err != nil || all == "1" {
			return err
		}
	}
	return writeSysctl(s.Path, s.Before)
}

// prepareIPv6 prepares a link in the calling thread's network namespace for the addresses: it takes what it is told by
// nobody, and uses what it is given at once, its link-local address too, from which neighbours are looked for.
func prepareIPv6(link string, addresses []netip.Prefix) error {
	if !slices.ContainsFunc(addresses, func(p netip.Prefix) bool { return p.Addr().Is6() }) {
		return nil
	}
	for _, s := range [][2]string{{"disable_ipv6", "0"}, {"accept_ra", "0"}, {"accept_dad", "0"}} {
		if err := writeSysctl(filepath.Join("net/ipv6/conf", link, s[0]), s[1]); err != nil {
			return fmt.Errorf("this host has no IPv6, or it is read-only: %w", err)
		}
	}
	return nil
}

// forwardAll makes a router of the calling thread's network namespace. Agents need their own links forwarded alone; but a node of a local
// cluster is where people build by hand what agents do, and hosts with containers on them forward (Docker switches it on).
func forwardAll() error {
	const all = "net/ipv4/ip_forward"
	if have, err := readSysctl(all); err == nil && have == "1" {
		return nil
	}
	return writeSysctl(all, "1")
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
