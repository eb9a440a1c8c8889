// SPDX-License-Identifier: Apache-2.0

package vxlan

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"eastwest/internal/kernel/link"
	"eastwest/internal/table"
)

// Kind says what an Entry is.
type Kind int

// The kinds, in the order in which they are added: each needs those before.
const (
	Address   Kind = iota // of the device: Prefix
	Forward               // the hardware address MAC is at the host Addr
	Neighbour             // Addr has the hardware address MAC
	Route                 // Prefix is reached via Addr
)

// Entry is one thing that the device knows.
type Entry struct {
	Kind   Kind
	Prefix netip.Prefix
	Addr   netip.Addr
	MAC    table.MAC
}

// Key is what an entry is found by: of two entries with one key, the later replaces the earlier.
func (e Entry) Key() Entry {
	switch e.Kind {
	case Neighbour:
		return Entry{Kind: e.Kind, Addr: e.Addr}
	case Route:
		return Entry{Kind: e.Kind, Prefix: e.Prefix}
	}
	return e // a hardware address can be at several hosts
}

// String writes an entry as iproute2 does.
func (e Entry) String() string {
	switch e.Kind {
	case Address:
		return fmt.Sprintf("address %s dev %s", e.Prefix, Name)
	case Forward:
		return fmt.Sprintf("fdb %s dev %s dst %s", e.MAC, Name, e.Addr)
	case Neighbour:
		return fmt.Sprintf("neighbour %s dev %s lladdr %s", e.Addr, Name, e.MAC)
	}
	return fmt.Sprintf("route %s via %s dev %s onlink", e.Prefix, e.Addr, Name)
}

// List returns all entries of the device; none when it is not there. Of routes and neighbours those count that are ours:
// permanent ones, and those with our protocol.
func (c *Conn) List(_ context.Context) ([]Entry, error) {
	var out []Entry
	err := link.Do(c.netns, func(h *link.Handle) error {
		l, err := h.LinkByName(Name)
		if link.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, list := range []func(*link.Handle, netlink.Link) ([]Entry, error){addresses, forwards, neighbours, routes} {
			some, err := list(h, l)
			if err != nil {
				return err
			}
			out = append(out, some...)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list what device %s knows: %w", Name, err)
	}
	return out, nil
}

func addresses(h *link.Handle, l netlink.Link) ([]Entry, error) {
	list, err := h.AddrList(l, netlink.FAMILY_ALL)
	var out []Entry
	for _, a := range list {
		ones, _ := a.Mask.Size()
		out = append(out, Entry{Kind: Address, Prefix: netip.PrefixFrom(address(a.IP), ones)})
	}
	return out, err
}

func forwards(h *link.Handle, l netlink.Link) ([]Entry, error) {
	list, err := h.NeighList(l.Attrs().Index, unix.AF_BRIDGE)
	var out []Entry
	for _, n := range list {
		if len(n.HardwareAddr) == 6 {
			out = append(out, Entry{Kind: Forward, Addr: address(n.IP), MAC: table.MAC(n.HardwareAddr)})
		}
	}
	return out, err
}

func neighbours(h *link.Handle, l netlink.Link) ([]Entry, error) {
	var out []Entry
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		list, err := h.NeighList(l.Attrs().Index, family)
		if err != nil {
			return nil, err
		}
		for _, n := range list {
			if n.State&netlink.NUD_PERMANENT != 0 && len(n.HardwareAddr) == 6 {
				out = append(out, Entry{Kind: Neighbour, Addr: address(n.IP), MAC: table.MAC(n.HardwareAddr)})
			}
		}
	}
	return out, nil
}

func routes(h *link.Handle, l netlink.Link) ([]Entry, error) {
	filter := &netlink.Route{Protocol: Protocol, LinkIndex: l.Attrs().Index}
	list, err := h.RouteListFiltered(netlink.FAMILY_ALL, filter, netlink.RT_FILTER_PROTOCOL|netlink.RT_FILTER_OIF)
	var out []Entry
	for _, r := range list {
		if r.Dst == nil {
			continue
		}
		ones, _ := r.Dst.Mask.Size()
		out = append(out, Entry{Kind: Route, Prefix: netip.PrefixFrom(address(r.Dst.IP), ones), Addr: address(r.Gw)})
	}
	return out, err
}

func address(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}

// verbs are what is done with each kind of entry.
type verbs struct {
	address   func(*link.Handle, netlink.Link, *netlink.Addr) error
	route     func(*link.Handle, *netlink.Route) error
	neighbour func(*link.Handle, *netlink.Neigh) error
}

var (
	replaceEntry = verbs{(*link.Handle).AddrReplace, (*link.Handle).RouteReplace, (*link.Handle).NeighSet}
	deleteEntry  = verbs{(*link.Handle).AddrDel, (*link.Handle).RouteDel, (*link.Handle).NeighDel}
)

// Add adds an entry, or replaces the one with its key.
func (c *Conn) Add(_ context.Context, e Entry) error {
	if err := c.change(e, replaceEntry); err != nil {
		return fmt.Errorf("add %s: %w", e, err)
	}
	return nil
}

// Remove removes an entry; a missing one is no error.
func (c *Conn) Remove(_ context.Context, e Entry) error {
	err := c.change(e, deleteEntry)
	if err == nil || link.IsNotFound(err) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EADDRNOTAVAIL) {
		return nil
	}
	return fmt.Errorf("remove %s: %w", e, err)
}

func (c *Conn) change(e Entry, v verbs) error {
	return link.Do(c.netns, func(h *link.Handle) error {
		l, err := h.LinkByName(Name)
		if err != nil {
			return err
		}
		switch e.Kind {
		case Address:
			return v.address(h, l, e.address())
		case Route:
			return v.route(h, e.route(l))
		}
		return v.neighbour(h, e.neighbour(l))
	})
}

func (e Entry) address() *netlink.Addr {
	a := &netlink.Addr{IPNet: network(e.Prefix)}
	if e.Prefix.Addr().Is6() {
		a.Flags = unix.IFA_F_NODAD | unix.IFA_F_NOPREFIXROUTE
	}
	return a
}

func (e Entry) route(l netlink.Link) *netlink.Route {
	return &netlink.Route{
		Protocol: Protocol, LinkIndex: l.Attrs().Index, Dst: network(e.Prefix), Gw: e.Addr.AsSlice(), Flags: int(netlink.FLAG_ONLINK),
	}
}

func (e Entry) neighbour(l netlink.Link) *netlink.Neigh {
	n := &netlink.Neigh{LinkIndex: l.Attrs().Index, IP: e.Addr.AsSlice(), HardwareAddr: e.MAC[:], State: netlink.NUD_PERMANENT, Family: netlink.FAMILY_V4}
	if e.Addr.Is6() {
		n.Family = netlink.FAMILY_V6
	}
	if e.Kind == Forward {
		n.Family, n.Flags = unix.AF_BRIDGE, netlink.NTF_SELF
	}
	return n
}

func network(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
