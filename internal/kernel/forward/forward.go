// SPDX-License-Identifier: Apache-2.0

// Package forward asks the kernel what it would do with a packet: the route that it takes, the link and the namespace
// behind it, and whether the next hop is known to answer. It changes nothing.
package forward

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"eastwest/internal/kernel/link"
)

// ErrUnreachable is returned for a destination that the kernel refuses to route.
var ErrUnreachable = errors.New("the kernel has no route")

// Reader reads the forwarding state of one network namespace. The caller closes it.
type Reader struct {
	handle   *link.Handle
	netnsDir string
}

// Open opens the namespace at path, or the calling thread's own when path is empty. Names of other namespaces are looked
// up in netnsDir (/run/netns).
func Open(path, netnsDir string) (*Reader, error) {
	open := link.Open
	if path != "" {
		open = func() (*link.Handle, error) { return link.OpenAt(path) }
	}
	handle, err := open()
	if err != nil {
		return nil, err
	}
	return &Reader{handle: handle, netnsDir: netnsDir}, nil
}

// Close ends the reader.
func (r *Reader) Close() { r.handle.Close() }

// From says where a packet comes from. The zero value is this namespace itself.
type From struct {
	Addr   netip.Addr // source address
	Device string     // name of the link that it comes in on; empty for the namespace's own packets
}

// Route is the entry of the routing table that a packet matches.
type Route struct {
	Destination netip.Prefix // of the entry; the default route is 0.0.0.0/0 or ::/0
	Via         netip.Addr   // next hop; invalid when the destination is on the link
	Device      string
	Index       int  // of the device
	Local       bool // the destination is an address of this namespace
}

// Default reports whether the packet found nothing better than the default route.
func (r Route) Default() bool { return r.Destination.IsValid() && r.Destination.Bits() == 0 }

// Route returns what the kernel's own look-up says, as `ip route get` does; ErrUnreachable when it says that there is no
// way.
func (r *Reader) Route(to netip.Addr, from From) (Route, error) {
	options := &netlink.RouteGetOptions{FIBMatch: true, Iif: from.Device}
	if from.Addr.IsValid() {
		options.SrcAddr = net.IP(from.Addr.AsSlice())
	}
	routes, err := r.handle.RouteGetWithOptions(net.IP(to.AsSlice()), options)
	switch {
	case errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.ESRCH):
		return Route{}, fmt.Errorf("look up route to %s: %w", to, ErrUnreachable)
	case errors.Is(err, unix.EXDEV):
		return Route{}, fmt.Errorf("look up route to %s: the kernel drops packets from %s that come in on %s (reverse path filter)", to, from.Addr, from.Device)
	case err != nil:
		return Route{}, fmt.Errorf("look up route to %s: %w", to, err)
	case len(routes) == 0:
		return Route{}, fmt.Errorf("look up route to %s: %w", to, ErrUnreachable)
	}
	return r.routeOf(to, routes[0])
}

// Source returns the address that the namespace's own packets get; invalid where none leads there.
func (r *Reader) Source(to netip.Addr) netip.Addr {
	routes, err := r.handle.RouteGetWithOptions(net.IP(to.AsSlice()), &netlink.RouteGetOptions{})
	if err != nil || len(routes) == 0 {
		return netip.Addr{}
	}
	source, _ := netip.AddrFromSlice(routes[0].Src)
	return source.Unmap()
}

func (r *Reader) routeOf(to netip.Addr, found netlink.Route) (Route, error) {
	if found.Type != unix.RTN_UNICAST && found.Type != unix.RTN_LOCAL {
		return Route{}, fmt.Errorf("look up route to %s: the routing table says to discard it: %w", to, ErrUnreachable)
	}
	if len(found.MultiPath) > 0 {
		found.LinkIndex, found.Gw = found.MultiPath[0].LinkIndex, found.MultiPath[0].Gw
	}
	route := Route{Index: found.LinkIndex, Local: found.Type == unix.RTN_LOCAL, Destination: netip.PrefixFrom(unspecified(to), 0)}
	if found.Dst != nil {
		if addr, ok := netip.AddrFromSlice(found.Dst.IP); ok {
			ones, _ := found.Dst.Mask.Size()
			route.Destination = netip.PrefixFrom(addr.Unmap(), ones)
		}
	}
	if via, ok := netip.AddrFromSlice(found.Gw); ok {
		route.Via = via.Unmap()
	}
	if found.LinkIndex > 0 {
		device, err := r.handle.LinkByIndex(found.LinkIndex)
		if err != nil {
			return Route{}, fmt.Errorf("look up route to %s: find link %d: %w", to, found.LinkIndex, err)
		}
		route.Device = device.Attrs().Name
	}
	return route, nil
}

func unspecified(a netip.Addr) netip.Addr {
	if a.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}

// Routes returns the destinations of the main table's routes over a next hop, those to other nodes' pods among them.
func (r *Reader) Routes() ([]netip.Prefix, error) {
	list, err := r.handle.RouteList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, err
	}
	var out []netip.Prefix
	for _, route := range list {
		if route.Dst == nil || route.Gw == nil {
			continue
		}
		if addr, ok := netip.AddrFromSlice(route.Dst.IP); ok {
			ones, _ := route.Dst.Mask.Size()
			out = append(out, netip.PrefixFrom(addr.Unmap(), ones))
		}
	}
	return out, nil
}

// Link describes a network device.
type Link struct {
	Name  string `json:"name"`
	Index int    `json:"index"`
	Kind  string `json:"kind"` // veth, bridge, device, …
	Up    bool   `json:"up"`
	Peer  *Peer  `json:"peer,omitempty"` // of a veth
}

// Peer is the other end of a veth.
type Peer struct {
	Name  string `json:"name,omitempty"` // empty when its namespace has no name here
	Index int    `json:"index"`
	Netns string `json:"netns,omitempty"` // path below the folder of namespaces; empty: this one, or one without a name
}

// Link describes the link of an index.
func (r *Reader) Link(index int) (Link, error) {
	found, err := r.handle.LinkByIndex(index)
	if err != nil {
		return Link{}, fmt.Errorf("find link %d: %w", index, err)
	}
	attrs := found.Attrs()
	out := Link{Name: attrs.Name, Index: attrs.Index, Kind: found.Type(), Up: attrs.RawFlags&unix.IFF_RUNNING != 0}
	if out.Kind == "veth" {
		out.Peer = r.peer(attrs)
	}
	return out, nil
}

// peer finds the name of the other end. What cannot be found out stays empty: the other end may be anywhere.
func (r *Reader) peer(attrs *netlink.LinkAttrs) *Peer {
	peer := &Peer{Index: attrs.ParentIndex}
	if attrs.NetNsID < 0 {
		if other, err := r.handle.LinkByIndex(attrs.ParentIndex); err == nil {
			peer.Name = other.Attrs().Name
		}
		return peer
	}
	paths, err := filepath.Glob(filepath.Join(r.netnsDir, "*"))
	if err != nil {
		return peer
	}
	for _, path := range paths {
		if name, ok := r.nameIn(path, attrs.NetNsID, attrs.ParentIndex); ok {
			peer.Name, peer.Netns = name, path
			break
		}
	}
	return peer
}

// nameIn returns the name of a link in the namespace at path, if this namespace knows that one by the number id.
func (r *Reader) nameIn(path string, id, index int) (string, bool) {
	f, err := os.Open(path)
	if err != nil {
		return "", false
	}
	defer f.Close()
	if got, err := r.handle.GetNetNsIdByFd(int(f.Fd())); err != nil || got != id {
		return "", false
	}
	other, err := link.OpenIn(f)
	if err != nil {
		return "", false
	}
	defer other.Close()
	found, err := other.LinkByIndex(index)
	if err != nil {
		return "", false
	}
	return found.Attrs().Name, true
}

// Unanswered reports whether the kernel asked for a neighbour's link address and got no answer.
func (r *Reader) Unanswered(index int, addr netip.Addr) (bool, error) {
	family := netlink.FAMILY_V4
	if addr.Is6() {
		family = netlink.FAMILY_V6
	}
	list, err := r.handle.NeighList(index, family)
	if err != nil {
		return false, err
	}
	for _, n := range list {
		if got, ok := netip.AddrFromSlice(n.IP); ok && got.Unmap() == addr {
			return n.State&(netlink.NUD_FAILED|netlink.NUD_INCOMPLETE) != 0, nil
		}
	}
	return false, nil
}
