// SPDX-License-Identifier: Apache-2.0

package route

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"eastwest/internal/kernel/link"
)

// UplinkAddress returns the address of a family with which this machine is seen by others: the one that its default route
// names, else the first lasting one of the link that the route leads to. It is not valid when there is none.
func (c *Conn) UplinkAddress(_ context.Context, ipv6 bool) (netip.Addr, error) {
	var found netip.Addr
	err := c.do(func() error {
		h, err := link.Open()
		if err != nil {
			return err
		}
		defer h.Close()
		family := netlink.FAMILY_V4
		if ipv6 {
			family = netlink.FAMILY_V6
		}
		route, err := defaultRoute(h, family)
		if err != nil || route == nil {
			return err
		}
		if found, _ = netip.AddrFromSlice(route.Src); found.IsValid() {
			found = found.Unmap()
			return nil
		}
		addresses, err := h.AddrList(nil, family)
		if err != nil {
			return err
		}
		found = lasting(addresses, route.LinkIndex)
		return nil
	})
	if err != nil {
		return netip.Addr{}, fmt.Errorf("find this machine's own address: %w", err)
	}
	return found, nil
}

// defaultRoute returns the default route that the kernel prefers; nil for none.
func defaultRoute(h *link.Handle, family int) (*netlink.Route, error) {
	routes, err := h.RouteListFiltered(family, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return nil, err
	}
	var best *netlink.Route
	for i, r := range routes {
		if ones, _ := maskOf(r.Dst).Size(); ones > 0 || r.Type != unix.RTN_UNICAST {
			continue
		}
		if len(r.MultiPath) > 0 {
			routes[i].LinkIndex = r.MultiPath[0].LinkIndex
		}
		if best == nil || r.Priority < best.Priority {
			best = &routes[i]
		}
	}
	return best, nil
}

func maskOf(dst *net.IPNet) net.IPMask {
	if dst == nil {
		return nil
	}
	return dst.Mask
}

// lasting returns the first address of a link that is meant to stay: no temporary one, and none whose life is over or has
// not begun.
func lasting(addresses []netlink.Addr, index int) netip.Addr {
	const unfit = unix.IFA_F_TEMPORARY | unix.IFA_F_DEPRECATED | unix.IFA_F_TENTATIVE | unix.IFA_F_DADFAILED
	for _, a := range addresses {
		if a.LinkIndex != index || a.Scope != unix.RT_SCOPE_UNIVERSE || a.Flags&unfit != 0 {
			continue
		}
		if address, ok := netip.AddrFromSlice(a.IP); ok {
			return address.Unmap()
		}
	}
	return netip.Addr{}
}

// WatchUplink calls changed now, and whenever an address or a route of this machine changes that is no pod's, until ctx ends.
func (c *Conn) WatchUplink(ctx context.Context, changed func()) error {
	isDefault := func(r netlink.Route) bool { ones, _ := maskOf(r.Dst).Size(); return ones == 0 }
	return fmt.Errorf("watch this machine's own addresses: %w", c.follow(ctx, func() error { changed(); return nil }, isDefault))
}
