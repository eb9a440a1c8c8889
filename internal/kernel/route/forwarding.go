// SPDX-License-Identifier: Apache-2.0

package route

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"

	"eastwest/internal/kernel/link"
	"eastwest/internal/kernel/sysctl"
)

// Forward lets packets be forwarded that come in by the links that have the addresses, each in the address's family, and by that
// of the family's default route: node ports lead to pods of other nodes, and answers come back. Addresses that no link has, those
// of a cloud's NAT, say, could be behind any link. IPv6 is switched on link by link since Linux 6.17, and as a whole before.
func (c *Conn) Forward(_ context.Context, addresses []netip.Addr) error {
	err := c.do(func() error {
		for _, address := range addresses {
			own, uplink, err := linksOf(address)
			if err == nil {
				err = forward(own, address.Is6())
			}
			if err == nil && uplink != "" && uplink != own {
				err = forward(uplink, address.Is6())
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("let this node forward packets: %w", err)
	}
	return nil
}

// linksOf names the link that has an address and that of its family's default route; empty for none.
func linksOf(address netip.Addr) (own, uplink string, err error) {
	h, err := link.Open()
	if err != nil {
		return "", "", err
	}
	defer h.Close()
	all, err := h.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return "", "", err
	}
	for _, a := range all {
		if a.IP.Equal(net.IP(address.AsSlice())) {
			if own, err = nameOf(h, a.LinkIndex); err != nil {
				return "", "", fmt.Errorf("find the link of %s: %w", address, err)
			}
			break
		}
	}
	family := netlink.FAMILY_V4
	if address.Is6() {
		family = netlink.FAMILY_V6
	}
	if route, err := defaultRoute(h, family); err != nil {
		return "", "", err
	} else if route != nil && route.LinkIndex > 0 {
		if uplink, err = nameOf(h, route.LinkIndex); err != nil {
			return "", "", fmt.Errorf("find the link of the default route: %w", err)
		}
	}
	return own, uplink, nil
}

func nameOf(h *link.Handle, index int) (string, error) {
	l, err := h.LinkByIndex(index)
	if err != nil {
		return "", err
	}
	return l.Attrs().Name, nil
}

func forward(name string, ipv6 bool) error {
	if !ipv6 {
		if name == "" {
			return sysctl.Ensure("net/ipv4/ip_forward", "1")
		}
		return sysctl.Ensure("net/ipv4/conf/"+name+"/forwarding", "1")
	}
	const all = "net/ipv6/conf/all/forwarding"
	if have, err := sysctl.Get(all); err == nil && have == "1" {
		return nil
	}
	if name == "" {
		return sysctl.Set(all, "1")
	}
	err := sysctl.Ensure("net/ipv6/conf/"+name+"/force_forwarding", "1")
	if errors.Is(err, os.ErrNotExist) {
		return sysctl.Set(all, "1")
	}
	return err
}
