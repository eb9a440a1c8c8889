// SPDX-License-Identifier: Apache-2.0

// Package loopback reads and changes the addresses of the loopback interface.
package loopback

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"eastwest/internal/kernel/netns"
)

// Conn talks to the loopback interface of one network namespace. It is safe for concurrent use.
type Conn struct{ netns string }

// New makes a connection to the network namespace at path, or to the program's own when path is empty.
func New(path string) *Conn { return &Conn{netns: path} }

// List returns the addresses, but for those that IPVS keeps there where it has no device of its own.
func (c *Conn) List(context.Context) ([]netip.Addr, error) {
	var out []netip.Addr
	err := c.do(func(lo netlink.Link) error {
		list, err := netlink.AddrList(lo, netlink.FAMILY_ALL)
		for _, a := range list {
			if addr, ok := netip.AddrFromSlice(a.IP); ok && !ofIPVS(addr.Unmap(), a) {
				out = append(out, addr.Unmap())
			}
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list addresses of the loopback interface: %w", err)
	}
	return out, nil
}

// ofIPVS reports whether an address is one that internal/kernel/ipvs makes.
func ofIPVS(addr netip.Addr, a netlink.Addr) bool {
	if addr.Is4() {
		return a.Scope == int(netlink.SCOPE_HOST) && !addr.IsLoopback()
	}
	return a.Flags&unix.IFA_F_DEPRECATED != 0
}

// Add adds a single address; one that is there is no error.
func (c *Conn) Add(_ context.Context, addr netip.Addr) error {
	err := c.do(func(lo netlink.Link) error { return netlink.AddrAdd(lo, host(addr)) })
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("add address %s to the loopback interface: %w", addr, err)
	}
	return nil
}

// Delete removes a single address; a missing one is no error.
func (c *Conn) Delete(_ context.Context, addr netip.Addr) error {
	err := c.do(func(lo netlink.Link) error { return netlink.AddrDel(lo, host(addr)) })
	if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
		return fmt.Errorf("delete address %s from the loopback interface: %w", addr, err)
	}
	return nil
}

func (c *Conn) do(fn func(netlink.Link) error) error {
	find := func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		return fn(lo)
	}
	if c.netns == "" {
		return find()
	}
	return netns.Do(c.netns, find)
}

func host(addr netip.Addr) *netlink.Addr {
	out := &netlink.Addr{IPNet: &net.IPNet{IP: addr.AsSlice(), Mask: net.CIDRMask(addr.BitLen(), addr.BitLen())}}
	if addr.Is6() {
		out.Flags = unix.IFA_F_NODAD
	}
	return out
}
