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
func AddRoutes(h *link.Handle, l netlink.Link, routes []*types.Route, ips []*current.IPConfig) error {
	for _, r := range routes {
		gw := r.GW
		for _, ip := range ips {
			if gw == nil && ip.Gateway != nil && IsV4(ip.Gateway) == IsV4(r.Dst.IP) {
				gw = ip.Gateway
			}
		}
		route := netlink.Route{
			LinkIndex: l.Attrs().Index,
			Dst:       &r.Dst,
			Gw:        gw,
			MTU:       r.MTU,
			AdvMSS:    r.AdvMSS,
			Priority:  r.Priority,
		}
		if r.Table != nil {
			route.Table = *r.Table
		}
		if r.Scope != nil {
			route.Scope = netlink.Scope(*r.Scope)
		}
		if err := h.RouteAdd(&route); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("add route %s via %s dev %s: %w", r.Dst.String(), gw, l.Attrs().Name, err)
		}
	}
	return nil
}
