// SPDX-License-Identifier: Apache-2.0

package forward

import (
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Entry is a route of the main table, as the kernel holds it.
type Entry struct {
	Destination netip.Prefix // 0.0.0.0/0 or ::/0 for the default route
	Via         netip.Addr   // next hop; invalid when the destination is on the link
	Device      string
	Source      netip.Addr // preferred source address; invalid for none
	Protocol    string     // who made it: kernel, boot, static, or its number
	Kind        string     // of the device: veth, bridge, vxlan, device, …
	MTU         int        // of the device
	// Remote is the host to which the device, a VXLAN tunnel, sends packets of this route; invalid where it is none, or
	// where the tunnel does not know and so drops them.
	Remote netip.Addr
}

// Table returns the unicast routes of the main table, IPv4 first, without the kernel's own for link-local and multicast
// addresses.
func (r *Reader) Table() ([]Entry, error) {
	links, err := r.handle.LinkList()
	if err != nil {
		return nil, err
	}
	byIndex := map[int]netlink.Link{}
	for _, l := range links {
		byIndex[l.Attrs().Index] = l
	}
	var out []Entry
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := r.handle.RouteList(nil, family)
		if err != nil {
			return nil, err
		}
		for _, route := range routes {
			entry, ok := entryOf(route, byIndex, family)
			if !ok {
				continue
			}
			if entry.Kind == "vxlan" {
				if entry.Remote, err = r.remote(route.LinkIndex, family, entry.Via); err != nil {
					return nil, err
				}
			}
			out = append(out, entry)
		}
	}
	return out, nil
}

func entryOf(route netlink.Route, links map[int]netlink.Link, family int) (Entry, bool) {
	if len(route.MultiPath) > 0 {
		route.LinkIndex, route.Gw = route.MultiPath[0].LinkIndex, route.MultiPath[0].Gw
	}
	device, ok := links[route.LinkIndex]
	if !ok || route.Type != unix.RTN_UNICAST || device.Attrs().RawFlags&unix.IFF_LOOPBACK != 0 {
		return Entry{}, false
	}
	out := Entry{Device: device.Attrs().Name, Kind: device.Type(), MTU: device.Attrs().MTU, Protocol: route.Protocol.String()}
	out.Destination = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	if family == netlink.FAMILY_V6 {
		out.Destination = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	if route.Dst != nil {
		ones, _ := route.Dst.Mask.Size()
		out.Destination = netip.PrefixFrom(address(route.Dst.IP), ones)
	}
	if a := out.Destination.Addr(); a.IsLinkLocalUnicast() || a.IsMulticast() {
		return Entry{}, false
	}
	out.Via, out.Source = address(route.Gw), address(route.Src)
	return out, true
}

func address(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}

// remote finds where a VXLAN device sends what goes to a next hop: by its neighbour entry and then its forwarding entry.
func (r *Reader) remote(index, family int, via netip.Addr) (netip.Addr, error) {
	neighbours, err := r.handle.NeighList(index, family)
	if err != nil {
		return netip.Addr{}, err
	}
	forwards, err := r.handle.NeighList(index, unix.AF_BRIDGE)
	if err != nil {
		return netip.Addr{}, err
	}
	for _, n := range neighbours {
		if address(n.IP) != via || len(n.HardwareAddr) == 0 {
			continue
		}
		for _, f := range forwards {
			if f.HardwareAddr.String() == n.HardwareAddr.String() {
				return address(f.IP), nil
			}
		}
	}
	return netip.Addr{}, nil
}
