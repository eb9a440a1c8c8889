// SPDX-License-Identifier: Apache-2.0

package ptp

import (
	"errors"
	"fmt"
	"net"

	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"eastwest/internal/cni/attach"
	"eastwest/internal/cni/forwarding"
	"eastwest/internal/cni/plugin"
	"eastwest/internal/cni/sourceguard"
	"eastwest/internal/kernel/link"
)

// setUpContainer gives the container's end its addresses and routes. An address keeps the subnet's prefix, but the
// subnet is reached through the gateway like everything else, so the kernel's own route for it is not wanted.
//
// Duplicate address detection is off: the link has two ends, and IPAM gave each its address.
func setUpContainer(h *link.Handle, l netlink.Link, sandbox string, result *current.Result) error {
	if attach.HasV6(result.IPs) {
		if err := attach.EnableV6(sandbox, l.Attrs().Name, true); err != nil {
			return err
		}
	}
	for _, ip := range result.IPs {
		address := ip.Address
		addr := &netlink.Addr{IPNet: &address, Flags: unix.IFA_F_NOPREFIXROUTE | noDAD(address.IP)}
		if err := h.AddrAdd(l, addr); err != nil {
			return fmt.Errorf("add address %s to %s: %w", address.String(), l.Attrs().Name, err)
		}
	}
	if err := h.LinkSetUp(l); err != nil {
		return fmt.Errorf("set %s up: %w", l.Attrs().Name, err)
	}
	for _, ip := range result.IPs {
		if err := throughGateway(h, l, ip); err != nil {
			return err
		}
	}
	return attach.AddRoutes(h, l, result.Routes, result.IPs)
}

// throughGateway makes the gateway the one neighbour on the link and the way to the rest of the subnet.
func throughGateway(h *link.Handle, l netlink.Link, ip *current.IPConfig) error {
	subnet := &net.IPNet{IP: ip.Address.IP.Mask(ip.Address.Mask), Mask: ip.Address.Mask}
	routes := []netlink.Route{
		{Dst: attach.Single(ip.Gateway), Scope: netlink.SCOPE_LINK},
		{Dst: subnet, Gw: ip.Gateway},
	}
	for _, r := range routes {
		r.LinkIndex, r.Src = l.Attrs().Index, ip.Address.IP
		if err := h.RouteAdd(&r); err != nil {
			return fmt.Errorf("add route %s dev %s: %w", r.Dst, l.Attrs().Name, err)
		}
	}
	return nil
}

// setUpHost gives the host's end the gateway addresses and a route to the container, and lets packets through that
// come from the container's own addresses.
func setUpHost(h *link.Handle, l netlink.Link, owner plugin.Owner, result *current.Result) error {
	ips := result.IPs
	name := l.Attrs().Name
	v4, v6 := false, false
	for _, ip := range ips {
		if attach.IsV4(ip.Address.IP) {
			v4 = true
		} else {
			v6 = true
		}
	}
	if err := (sourceguard.Routed{Owner: owner, Link: name, Addresses: addresses(result)}).Add(); err != nil {
		return err
	}
	for _, ip := range ips {
		gateway := &netlink.Addr{IPNet: attach.Single(ip.Gateway), Flags: noDAD(ip.Gateway)}
		if !attach.IsV4(ip.Gateway) {
			gateway.Flags |= unix.IFA_F_NOPREFIXROUTE // else there is a route to the gateway over each container's link
		}
		if err := h.AddrAdd(l, gateway); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("add gateway address %s to %s: %w", ip.Gateway, name, err)
		}
		route := &netlink.Route{LinkIndex: l.Attrs().Index, Dst: attach.Single(ip.Address.IP), Scope: netlink.SCOPE_HOST}
		if err := h.RouteReplace(route); err != nil {
			return fmt.Errorf("add route to %s dev %s: %w", ip.Address.IP, name, err)
		}
	}
	return forwarding.Enable(name, v4, v6)
}

func noDAD(ip net.IP) int {
	if attach.IsV4(ip) {
		return 0
	}
	return unix.IFA_F_NODAD
}
