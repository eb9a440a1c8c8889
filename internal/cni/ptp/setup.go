// SPDX-License-Identifier: Apache-2.0

package ptp

import (
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
	b := &link.Batch{}
	for _, ip := range result.IPs {
		b.AddAddress(l, &netlink.Addr{IPNet: &ip.Address, Flags: unix.IFA_F_NOPREFIXROUTE | noDAD(ip.Address.IP)})
	}
	b.SetUp(l, "")
	for _, ip := range result.IPs {
		throughGateway(b, l, ip)
	}
	otherGateways(b, l, result)
	attach.AddRoutes(b, l, result.Routes, result.IPs)
	return h.Apply(b)
}

// otherGateways makes neighbours of what routes name as their gateway besides the container's own, if it is in the container's subnet:
// the kernel takes no gateway that is behind another.
func otherGateways(b *link.Batch, l netlink.Link, result *current.Result) {
	for _, r := range result.Routes {
		for _, ip := range result.IPs {
			if r.GW != nil && ip.Address.Contains(r.GW) && !r.GW.Equal(ip.Gateway) {
				b.AddRoute(l, &netlink.Route{Dst: attach.Single(r.GW), Src: ip.Address.IP, Scope: netlink.SCOPE_LINK}, unix.NLM_F_EXCL, unix.EEXIST)
			}
		}
	}
}

// throughGateway makes the gateway the one neighbour on the link and the way to the rest of the subnet.
func throughGateway(b *link.Batch, l netlink.Link, ip *current.IPConfig) {
	subnet := &net.IPNet{IP: ip.Address.IP.Mask(ip.Address.Mask), Mask: ip.Address.Mask}
	b.AddRoute(l, &netlink.Route{Dst: attach.Single(ip.Gateway), Src: ip.Address.IP, Scope: netlink.SCOPE_LINK}, unix.NLM_F_EXCL)
	b.AddRoute(l, &netlink.Route{Dst: subnet, Gw: ip.Gateway, Src: ip.Address.IP}, unix.NLM_F_EXCL)
}

// setUpHost gives the host's end the gateway addresses and a route to the container, and lets packets through that
// come from the container's own addresses.
func setUpHost(h *link.Handle, l netlink.Link, owner plugin.Owner, result *current.Result, scope forwarding.Scope) error {
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
	b := &link.Batch{}
	for _, ip := range ips {
		gateway := &netlink.Addr{IPNet: attach.Single(ip.Gateway), Flags: noDAD(ip.Gateway)}
		if !attach.IsV4(ip.Gateway) {
			gateway.Flags |= unix.IFA_F_NOPREFIXROUTE // else there is a route to the gateway over each container's link
		}
		b.AddAddress(l, gateway, unix.EEXIST)
		b.AddRoute(l, &netlink.Route{Dst: attach.Single(ip.Address.IP), Scope: netlink.SCOPE_HOST}, unix.NLM_F_REPLACE)
	}
	if err := h.Apply(b); err != nil {
		return err
	}
	return forwarding.Enable(name, v4, v6, scope)
}

func noDAD(ip net.IP) int {
	if attach.IsV4(ip) {
		return 0
	}
	return unix.IFA_F_NODAD
}
