// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"eastwest/internal/kernel/link"
	"eastwest/internal/kernel/netns"
	"eastwest/internal/kernel/sysctl"
)

// IsV4 reports whether an address is IPv4.
func IsV4(ip net.IP) bool { return ip.To4() != nil }

// Single is the prefix that holds one address alone.
func Single(ip net.IP) *net.IPNet {
	if v4 := ip.To4(); v4 != nil {
		return &net.IPNet{IP: v4, Mask: net.CIDRMask(32, 32)}
	}
	return &net.IPNet{IP: ip, Mask: net.CIDRMask(128, 128)}
}

// HasV6 reports whether a result holds an IPv6 address.
func HasV6(ips []*current.IPConfig) bool {
	for _, ip := range ips {
		if !IsV4(ip.Address.IP) {
			return true
		}
	}
	return false
}

// Configure gives a container's interface, on a network that it shares with others, its addresses and routes, and brings
// it up. Neighbours are told, since they may know an address from the container that had it before. With dad, IPv6
// addresses are used once no one else turned out to have them.
func Configure(h *link.Handle, l netlink.Link, sandbox string, result *current.Result, dad bool) error {
	name := l.Attrs().Name
	if HasV6(result.IPs) {
		if err := EnableV6(sandbox, name, !dad); err != nil {
			return err
		}
	}
	if len(result.IPs) > 0 {
		if err := announce(sandbox, name); err != nil {
			return err
		}
	}
	up := &link.Batch{}
	for _, ip := range result.IPs {
		up.AddAddress(l, &netlink.Addr{IPNet: &ip.Address})
	}
	up.SetUp(l, "")
	if err := h.Apply(up); err != nil {
		return err
	}
	if err := Settle(h, l); err != nil {
		return err
	}
	routes := &link.Batch{}
	AddRoutes(routes, l, result.Routes, result.IPs)
	return h.Apply(routes)
}

// announce has the kernel send gratuitous ARP and neighbour advertisements when the interface comes up.
func announce(sandbox, ifName string) error {
	return netns.Do(sandbox, func() error {
		for _, name := range []string{"net/ipv4/conf/" + ifName + "/arp_notify", "net/ipv6/conf/" + ifName + "/ndisc_notify"} {
			if err := sysctl.Ensure(name, "1"); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
		return nil
	})
}

// EnableV6 lets an interface of a namespace have IPv6 addresses, and keep them while it is down. Container runtimes
// often switch IPv6 off in new namespaces. With noDAD, addresses are used without looking for duplicates first.
func EnableV6(sandbox, ifName string, noDAD bool) error {
	return netns.Do(sandbox, func() error {
		for _, name := range []string{"lo", ifName} {
			err := sysctl.Ensure("net/ipv6/conf/"+name+"/disable_ipv6", "0")
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				return fmt.Errorf("enable IPv6 on %s: %w", name, err)
			}
		}
		if noDAD {
			if err := sysctl.Ensure("net/ipv6/conf/"+ifName+"/accept_dad", "0"); err != nil {
				return err
			}
		}
		return sysctl.Ensure("net/ipv6/conf/"+ifName+"/keep_addr_on_down", "1")
	})
}

// AddRoutes adds the routes of a result to a device; one without a gateway gets the first gateway of its family.
func AddRoutes(b *link.Batch, l netlink.Link, routes []*types.Route, ips []*current.IPConfig) {
	for _, r := range routes {
		gw := r.GW
		for _, ip := range ips {
			if gw == nil && ip.Gateway != nil && IsV4(ip.Gateway) == IsV4(r.Dst.IP) {
				gw = ip.Gateway
			}
		}
		route := netlink.Route{Dst: &r.Dst, Gw: gw, MTU: r.MTU, AdvMSS: r.AdvMSS, Priority: r.Priority}
		if r.Table != nil {
			route.Table = *r.Table
		}
		if r.Scope != nil {
			route.Scope = netlink.Scope(*r.Scope)
		}
		b.AddRoute(l, &route, 0, unix.EEXIST)
	}
}
