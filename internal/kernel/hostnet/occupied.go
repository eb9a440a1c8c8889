// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Use is an address range that this machine uses already.
type Use struct {
	Range netip.Prefix
	// By says what uses it: "address of eth0", "route by tun0".
	By string
}

// Occupied lists the ranges of both families that the host's addresses and routes use, in any table; default routes are left out.
func Occupied() ([]Use, error) {
	names, err := linkNames()
	if err != nil {
		return nil, err
	}
	addresses, err := netlink.AddrList(nil, unix.AF_UNSPEC)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, fmt.Errorf("list the host's addresses: %w", err)
	}
	var uses []Use
	for _, a := range addresses {
		if prefix, ok := prefixOf(a.IPNet); ok {
			uses = append(uses, Use{Range: prefix, By: "address of " + names[a.LinkIndex]})
		}
	}
	routes, err := netlink.RouteListFiltered(unix.AF_UNSPEC, &netlink.Route{}, netlink.RT_FILTER_TABLE)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, fmt.Errorf("list the host's routes: %w", err)
	}
	for _, r := range routes {
		if prefix, ok := prefixOf(r.Dst); ok && prefix.Bits() > 0 && !prefix.Addr().IsMulticast() {
			uses = append(uses, Use{Range: prefix, By: "route by " + names[r.LinkIndex]})
		}
	}
	return uses, nil
}

func linkNames() (map[int]string, error) {
	links, err := netlink.LinkList()
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, fmt.Errorf("list the host's links: %w", err)
	}
	names := map[int]string{}
	for _, link := range links {
		names[link.Attrs().Index] = link.Attrs().Name
	}
	return names, nil
}

func prefixOf(network *net.IPNet) (netip.Prefix, bool) {
	if network == nil {
		return netip.Prefix{}, false
	}
	address, ok := netip.AddrFromSlice(network.IP)
	if !ok {
		return netip.Prefix{}, false
	}
	bits, _ := network.Mask.Size()
	prefix, err := address.Unmap().Prefix(bits)
	return prefix, err == nil
}

// Uplinks names the links that the host's routes of a family by a gateway use: replies from outside come in by them.
func Uplinks(ipv6 bool) ([]string, error) {
	names, err := linkNames()
	if err != nil {
		return nil, err
	}
	family := unix.AF_INET
	if ipv6 {
		family = unix.AF_INET6
	}
	routes, err := netlink.RouteList(nil, family)
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		return nil, fmt.Errorf("list the host's routes: %w", err)
	}
	var uplinks []string
	seen := map[string]bool{}
	add := func(index int) {
		if name := names[index]; name != "" && !seen[name] {
			seen[name] = true
			uplinks = append(uplinks, name)
		}
	}
	for _, r := range routes {
		if prefix, ok := prefixOf(r.Dst); r.Gw != nil || !ok || prefix.Bits() == 0 {
			add(r.LinkIndex)
		}
		for _, hop := range r.MultiPath {
			add(hop.LinkIndex)
		}
	}
	return uplinks, nil
}
