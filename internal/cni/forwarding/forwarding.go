// SPDX-License-Identifier: Apache-2.0

// Package forwarding lets the host forward packets to and from containers.
package forwarding

import (
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"eastwest/internal/cni/plugin"
	"eastwest/internal/kernel/link"
	"eastwest/internal/kernel/sysctl"
)

// Scope is what of IPv4 a host forwards for its containers.
type Scope string

// The scopes, as configurations name them.
const (
	Host  Scope = "host"  // whatever comes in by any link, as the reference plugins have it; also where nothing is named
	Links Scope = "links" // what comes in by links of containers; somebody else sees to the host's own
)

// CheckScope says what is wrong with a scope.
func CheckScope(s Scope) error {
	if s == "" || s == Host || s == Links {
		return nil
	}
	return plugin.ConfigError("forwarding %q: it is %q or %q", s, Host, Links)
}

// Enable lets packets of the wanted families be forwarded that come in by a link of containers, and the answers to them.
//
// For IPv6 that is the link itself and the one of the default route, where the kernel has a switch for each (force_forwarding,
// Linux 6.17). As a whole, which is how it is before, it makes a router of the host: one that no longer listens to routers,
// and so loses a default route that it has from them.
func Enable(name string, v4, v6 bool, scope Scope) error {
	if v4 {
		if err := enableV4(name, scope); err != nil {
			return err
		}
	}
	if !v6 {
		return nil
	}
	const whole = "net/ipv6/conf/all/forwarding"
	if have, err := sysctl.Get(whole); err == nil && have == "1" {
		return nil
	}
	err := force(name)
	if errors.Is(err, os.ErrNotExist) {
		return sysctl.Set(whole, "1")
	}
	if err != nil {
		return err
	}
	uplink, err := uplink()
	if err != nil || uplink == "" {
		return err
	}
	return force(uplink)
}

func enableV4(name string, scope Scope) error {
	const whole = "net/ipv4/ip_forward"
	if scope != Links {
		return sysctl.Ensure(whole, "1")
	}
	if have, err := sysctl.Get(whole); err == nil && have == "1" {
		return nil // new links have it as well
	}
	return sysctl.Ensure("net/ipv4/conf/"+name+"/forwarding", "1")
}

func force(name string) error {
	return sysctl.Ensure("net/ipv6/conf/"+name+"/force_forwarding", "1")
}

// uplink names the link that packets to the rest of the world take; empty for none.
func uplink() (string, error) {
	h, err := link.Open()
	if err != nil {
		return "", err
	}
	defer h.Close()
	anywhere := net.ParseIP("2000::") // global unicast (RFC 4291, 2.4)
	routes, err := h.RouteGet(anywhere)
	if errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.EHOSTUNREACH) || err == nil && len(routes) == 0 {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("find the default route: %w", err)
	}
	l, err := h.LinkByIndex(routes[0].LinkIndex)
	if err != nil {
		return "", fmt.Errorf("find the link of the default route: %w", err)
	}
	if l.Attrs().Flags&net.FlagLoopback != 0 {
		return "", nil
	}
	return l.Attrs().Name, nil
}
