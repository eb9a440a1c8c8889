// SPDX-License-Identifier: Apache-2.0

package portmap

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"eastwest/internal/kernel/link"
	"eastwest/internal/kernel/sysctl"
)

// toContainer returns the interface that leads to a container; nil if this host has no route to it, which then cannot be
// reached from here anyway.
func toContainer(container netip.Addr) (netlink.Link, error) {
	h, err := link.Open()
	if err != nil {
		return nil, err
	}
	defer h.Close()
	routes, err := h.RouteGet(container.AsSlice())
	if err != nil || len(routes) == 0 {
		return nil, nil
	}
	l, err := h.LinkByIndex(routes[0].LinkIndex)
	if err != nil {
		return nil, fmt.Errorf("look up interface to %s: %w", container, err)
	}
	return l, nil
}

// routeLocalnet lets packets from 127.0.0.1 leave through an interface, which is what a connection of this host to its
// own mapped port needs.
func routeLocalnet(l netlink.Link) error {
	return sysctl.Ensure("net/ipv4/conf/"+l.Attrs().Name+"/route_localnet", "1")
}

// forgetStale deletes the connection tracking entries of UDP to the mapped host ports: packets of a flow that was
// there before would still go where they went.
func forgetStale(mappings []mapping) error {
	var filters []netlink.CustomConntrackFilter
	for _, m := range mappings {
		if m.proto != unix.IPPROTO_UDP {
			continue
		}
		f := &netlink.ConntrackFilter{}
		err := errors.Join(f.AddProtocol(m.proto), f.AddPort(netlink.ConntrackOrigDstPort, m.hostPort))
		if m.hostIP.IsValid() && !m.hostIP.IsUnspecified() {
			err = errors.Join(err, f.AddIP(netlink.ConntrackOrigDstIP, m.hostIP.AsSlice()))
		}
		if err != nil {
			return fmt.Errorf("describe UDP connections to %s: %w", m, err)
		}
		filters = append(filters, f)
	}
	if len(filters) == 0 {
		return nil
	}
	h, err := netlink.NewHandle(unix.NETLINK_NETFILTER)
	if err != nil {
		return fmt.Errorf("open netfilter netlink: %w", err)
	}
	defer h.Close()
	for _, family := range []netlink.InetFamily{unix.AF_INET, unix.AF_INET6} {
		_, err := h.ConntrackDeleteFilters(netlink.ConntrackTable, family, filters...)
		if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, netlink.ErrDumpInterrupted) {
			return fmt.Errorf("forget UDP connections to mapped ports: %w", err)
		}
	}
	return nil
}
