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

// Forward lets packets be forwarded that come in by the links that have the addresses, each in the address's family: node
// ports lead to pods of other nodes, and answers come back. Addresses that no link has, those of a cloud's NAT, say, could
// be behind any link. IPv6 is switched on link by link since Linux 6.17, and as a whole before.
func (c *Conn) Forward(_ context.Context, addresses []netip.Addr) error {
	err := c.do(func() error {
		for _, address := range addresses {
			name, err := linkOf(address)
			if err != nil {
				return err
			}
			if err := forward(name, address.Is6()); err != nil {
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

// linkOf names the link that has an address; empty for none.
func linkOf(address netip.Addr) (string, error) {
	h, err := link.Open()
	if err != nil {
		return "", err
	}
	defer h.Close()
	all, err := h.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return "", err
	}
	for _, a := range all {
		if !a.IP.Equal(net.IP(address.AsSlice())) {
			continue
		}
		l, err := h.LinkByIndex(a.LinkIndex)
		if err != nil {
			return "", fmt.Errorf("find the link of %s: %w", address, err)
		}
		return l.Attrs().Name, nil
	}
	return "", nil
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
