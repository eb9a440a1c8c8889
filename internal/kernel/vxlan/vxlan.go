// SPDX-License-Identifier: Apache-2.0

// Package vxlan reads and changes this node's VXLAN device (RFC 7348) and all that it knows: its addresses, the peers'
// hardware addresses with the hosts that they are at (the forwarding database), neighbours, and routes.
//
// The device learns nothing and floods nothing: what it has no entry for, it drops.
package vxlan

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"eastwest/internal/kernel/link"
	"eastwest/internal/kernel/sysctl"
	"eastwest/internal/table"
)

// What the device is.
const (
	Name = "eastwest-vxlan"
	ID   = 201  // network identifier
	Port = 4789 // IANA's, RFC 7348 section 8
	// Protocol marks our routes through the device, as route.Protocol marks those without it.
	Protocol netlink.RouteProtocol = 202
)

// Overhead of the encapsulation in bytes: outer IP, UDP and VXLAN headers, and the inner Ethernet header.
const (
	overheadV4 = 20 + 8 + 8 + 14
	overheadV6 = 40 + 8 + 8 + 14
)

// Device says how the device is to be.
type Device struct {
	Local netip.Addr // this node's address, from which packets are sent
	MAC   table.MAC
	MTU   int
}

// Conn talks to one network namespace. It is safe for concurrent use.
type Conn struct{ netns string }

// New makes a connection to the network namespace at path, or to the program's own when path is empty.
func New(path string) *Conn { return &Conn{netns: path} }

// MTU returns what fits into packets that are sent from a local address: the MTU of its link without the overhead.
func (c *Conn) MTU(_ context.Context, local netip.Addr) (int, error) {
	overhead := overheadV4
	if local.Is6() {
		overhead = overheadV6
	}
	mtu := 0
	err := link.Do(c.netns, func(h *link.Handle) error {
		all, err := h.AddrList(nil, netlink.FAMILY_ALL)
		if err != nil {
			return err
		}
		for _, a := range all {
			if got, ok := netip.AddrFromSlice(a.IP); ok && got.Unmap() == local {
				l, err := h.LinkByIndex(a.LinkIndex)
				if err != nil {
					return err
				}
				mtu = l.Attrs().MTU - overhead
			}
		}
		return nil
	})
	if err == nil && mtu <= 0 {
		err = errors.New("no interface of this node has the address: is --node-ip right?")
	}
	if err != nil {
		return 0, fmt.Errorf("find the link of %s: %w", local, err)
	}
	return mtu, nil
}

// Exists reports whether there is a device of this name, whatever it is.
func (c *Conn) Exists() (bool, error) {
	err := link.Do(c.netns, func(h *link.Handle) error { _, err := h.LinkByName(Name); return err })
	if link.IsNotFound(err) {
		return false, nil
	}
	return err == nil, err
}

// Device returns how the device is now; false when it is not there, or is not as Put makes it.
func (c *Conn) Device(_ context.Context) (device Device, ok bool, err error) {
	err = link.Do(c.netns, func(h *link.Handle) error {
		l, err := h.LinkByName(Name)
		if link.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return err
		}
		device, ok = deviceOf(l)
		return nil
	})
	if err != nil {
		return Device{}, false, fmt.Errorf("read device %s: %w", Name, err)
	}
	return device, ok, nil
}

func deviceOf(l netlink.Link) (Device, bool) {
	v, is := l.(*netlink.Vxlan)
	if !is || v.VxlanId != ID || v.Port != Port || v.Learning || len(v.Group) > 0 || v.RawFlags&unix.IFF_UP == 0 || len(v.HardwareAddr) != 6 {
		return Device{}, false
	}
	local, _ := netip.AddrFromSlice(v.SrcAddr)
	return Device{Local: local.Unmap(), MAC: table.MAC(v.HardwareAddr), MTU: v.MTU}, true
}

// Put makes the device, or changes it. It is made anew, and so empty, when it is another device or has another address.
func (c *Conn) Put(_ context.Context, want Device) error {
	err := link.Do(c.netns, func(h *link.Handle) error {
		if old, err := h.LinkByName(Name); err == nil {
			if have, ok := deviceOf(old); ok && have.Local == want.Local {
				return errors.Join(h.LinkSetMTU(old, want.MTU), h.LinkSetHardwareAddr(old, want.MAC[:]))
			}
			if err := h.LinkDel(old); err != nil {
				return err
			}
		}
		return add(h, want)
	})
	if err != nil {
		return fmt.Errorf("make device %s: %w", Name, err)
	}
	return nil
}

func add(h *link.Handle, want Device) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.HardwareAddr = Name, want.MTU, want.MAC[:]
	device := &netlink.Vxlan{
		LinkAttrs: attrs, VxlanId: ID, Port: Port, SrcAddr: want.Local.AsSlice(),
		// Over IPv6 checksums are sent, as RFC 6935 section 5 has it; over IPv4 Ethernet's suffices, and none can go wrong.
		Learning: false,
	}
	if err := h.LinkAdd(device); err != nil {
		return err
	}
	l, err := h.LinkByName(Name)
	if err != nil {
		return err
	}
	// What comes in may have been sent from an address that this node reaches without the overlay, the peer's own say, and is
	// for pods. (IPv6 is forwarded link by link since Linux 6.17; before, it is for the whole node.)
	for _, parameter := range [][2]string{
		{"net/ipv4/conf/" + Name + "/rp_filter", "2"}, {"net/ipv4/conf/" + Name + "/forwarding", "1"},
		{"net/ipv6/conf/" + Name + "/accept_dad", "0"}, {"net/ipv6/conf/" + Name + "/force_forwarding", "1"},
	} {
		if err := sysctl.Ensure(parameter[0], parameter[1]); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	const noAddress = 1 // IN6_ADDR_GEN_MODE_NONE: it has neighbours by entries alone
	if err := h.LinkSetIP6AddrGenMode(l, noAddress); err != nil && !errors.Is(err, unix.EAFNOSUPPORT) {
		return err
	}
	return h.LinkSetUp(l)
}

// Delete removes the device and with it all entries; a missing one is no error.
func (c *Conn) Delete(_ context.Context) error {
	err := link.Do(c.netns, func(h *link.Handle) error {
		l, err := h.LinkByName(Name)
		if err != nil {
			return err
		}
		return h.LinkDel(l)
	})
	if err != nil && !link.IsNotFound(err) {
		return fmt.Errorf("delete device %s: %w", Name, err)
	}
	return nil
}
