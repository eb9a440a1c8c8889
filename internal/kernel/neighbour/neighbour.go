// SPDX-License-Identifier: Apache-2.0

// Package neighbour has this machine answer on its networks for addresses that are not its own: the kernel answers ARP and
// neighbour solicitations for them by its proxy entries (`ip neigh show proxy`), and neighbours are told when they move
// here. Packets to them are not delivered to this machine's own sockets: what is to become of them is for others to say.
package neighbour

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"eastwest/internal/kernel/link"
	"eastwest/internal/kernel/sysctl"
)

// Protocol marks our routes, and by them our proxy entries; it shows as `proto 203` in `ip route`.
const Protocol netlink.RouteProtocol = 203

// Conn talks to the neighbour tables and routes of one network namespace. It is safe for concurrent use.
type Conn struct{ netns string }

// New makes a connection to the network namespace at path, or to the program's own when path is empty.
func New(path string) *Conn { return &Conn{netns: path} }

// List returns the addresses that this machine answers for by us. One that is answered for in part only, or on a link that
// is no longer the right one, is not among them until Add has mended it, unless all is asked for.
func (c *Conn) List(_ context.Context, all bool) ([]netip.Addr, error) {
	var out []netip.Addr
	err := link.Do(c.netns, func(h *link.Handle) error {
		list, err := routes(h)
		if err != nil {
			return err
		}
		for _, address := range list {
			whole, err := answered(h, address)
			if err != nil {
				return err
			}
			if all || whole {
				out = append(out, address)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list announced addresses: %w", err)
	}
	return out, nil
}

// Add answers for an address on the link whose network it is on, and tells the neighbours. An address that this machine
// answers for already is told again.
func (c *Conn) Add(_ context.Context, address netip.Addr) error {
	err := link.Do(c.netns, func(h *link.Handle) error {
		l, own, err := networkOf(h, address)
		if err != nil {
			return err
		}
		if err := prepare(l.Attrs().Name, address.Is6()); err != nil {
			return err
		}
		// The kernel answers by a proxy entry for what it would forward to another link. The route leads to none; rules
		// have sent packets elsewhere before it counts.
		lo, err := h.LinkByName("lo")
		if err != nil {
			return err
		}
		route := &netlink.Route{LinkIndex: lo.Attrs().Index, Dst: host(address), Src: own.AsSlice(), Protocol: Protocol, Scope: netlink.SCOPE_LINK}
		if address.Is6() {
			route.Src, route.Scope = nil, 0
		}
		if err := h.RouteReplace(route); err != nil {
			return fmt.Errorf("add route: %w", err)
		}
		if err := h.NeighSet(entry(l, address)); err != nil {
			return fmt.Errorf("add proxy entry on %s: %w", l.Attrs().Name, err)
		}
		return tell(l, address)
	})
	if err != nil {
		return fmt.Errorf("announce %s: %w", address, err)
	}
	return nil
}

// Delete no longer answers for an address; one that is not answered for is no error.
func (c *Conn) Delete(_ context.Context, address netip.Addr) error {
	err := link.Do(c.netns, func(h *link.Handle) error {
		links, err := h.LinkList()
		if err != nil {
			return err
		}
		for _, l := range links {
			if err := h.NeighDel(entry(l, address)); err != nil && !gone(err) {
				return fmt.Errorf("delete proxy entry on %s: %w", l.Attrs().Name, err)
			}
		}
		if err := h.RouteDel(&netlink.Route{Dst: host(address), Protocol: Protocol, Scope: netlink.SCOPE_NOWHERE}); err != nil && !gone(err) {
			return fmt.Errorf("delete route: %w", err)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("no longer announce %s: %w", address, err)
	}
	return nil
}

func gone(err error) bool { return errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOENT) }

// routes returns the addresses that have our route.
func routes(h *link.Handle) ([]netip.Addr, error) {
	for {
		list, err := h.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Protocol: Protocol}, netlink.RT_FILTER_PROTOCOL)
		if errors.Is(err, netlink.ErrDumpInterrupted) {
			continue
		}
		var out []netip.Addr
		for _, r := range list {
			if r.Dst == nil {
				continue
			}
			if address, ok := netip.AddrFromSlice(r.Dst.IP); ok {
				out = append(out, address.Unmap())
			}
		}
		return out, err
	}
}

// answered reports whether the proxy entry of an address is on the link where it belongs.
func answered(h *link.Handle, address netip.Addr) (bool, error) {
	l, _, err := networkOf(h, address)
	if err != nil {
		return false, nil // the network is gone: Add says so
	}
	list, err := h.NeighProxyList(l.Attrs().Index, family(address))
	if err != nil {
		return false, fmt.Errorf("list proxy entries of %s: %w", l.Attrs().Name, err)
	}
	return slices.ContainsFunc(list, func(n netlink.Neigh) bool { return n.IP.Equal(address.AsSlice()) }), nil
}

// networkOf returns the link on whose network an address is, and this machine's own address there.
func networkOf(h *link.Handle, address netip.Addr) (netlink.Link, netip.Addr, error) {
	all, err := h.AddrList(nil, family(address))
	if err != nil {
		return nil, netip.Addr{}, fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range all {
		own, ok := netip.AddrFromSlice(a.IP)
		ones, bits := a.Mask.Size()
		if !ok || ones == bits || own.Unmap() == address || !a.Contains(address.AsSlice()) {
			continue
		}
		l, err := h.LinkByIndex(a.LinkIndex)
		return l, own.Unmap(), err
	}
	return nil, netip.Addr{}, errors.New("none of this node's networks has the address; choose the pool from the nodes' network")
}

// prepare lets a link answer. IPv6 proxies for routers only; a router takes no more advertisements from others unless told
// to, and a machine that has its own address or route by them is to keep both.
func prepare(name string, ipv6 bool) error {
	if !ipv6 {
		return sysctl.Ensure("net/ipv4/conf/"+name+"/forwarding", "1")
	}
	conf := "net/ipv6/conf/" + name
	if accept, err := sysctl.Get(conf + "/accept_ra"); err == nil && accept == "1" {
		if err := sysctl.Set(conf+"/accept_ra", "2"); err != nil {
			return err
		}
	}
	for _, key := range []string{conf + "/forwarding", conf + "/proxy_ndp"} {
		if err := sysctl.Ensure(key, "1"); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

func entry(l netlink.Link, address netip.Addr) *netlink.Neigh {
	return &netlink.Neigh{LinkIndex: l.Attrs().Index, Family: family(address), Flags: netlink.NTF_PROXY, IP: address.AsSlice()}
}

func host(address netip.Addr) *net.IPNet {
	return &net.IPNet{IP: address.AsSlice(), Mask: net.CIDRMask(address.BitLen(), address.BitLen())}
}

func family(address netip.Addr) int {
	if address.Is6() {
		return netlink.FAMILY_V6
	}
	return netlink.FAMILY_V4
}
