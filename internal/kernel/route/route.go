// SPDX-License-Identifier: Apache-2.0

// Package route reads and changes the routes that this program owns, which it knows by their routing protocol number.
package route

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

// Protocol marks our routes; it is free in iproute2's rt_protos and shows as `proto 201` in `ip route`.
const Protocol netlink.RouteProtocol = 201

// Route sends a destination's packets to a neighbour.
type Route struct {
	Destination netip.Prefix
	Via         netip.Addr
}

// Conn talks to the routing of one network namespace. It is safe for concurrent use.
type Conn struct{ netns string }

// New makes a connection to the network namespace at path, or to the program's own when path is empty.
func New(path string) *Conn { return &Conn{netns: path} }

// List returns our routes.
func (c *Conn) List(ctx context.Context) ([]Route, error) {
	var out []Route
	err := c.do(func() error {
		for ctx.Err() == nil {
			list, err := netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Protocol: Protocol}, netlink.RT_FILTER_PROTOCOL)
			if errors.Is(err, netlink.ErrDumpInterrupted) {
				continue
			}
			for _, r := range list {
				if route, ok := fromKernel(r); ok {
					out = append(out, route)
				}
			}
			return err
		}
		return ctx.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	return out, nil
}

// Put adds a route or replaces the one to the same destination.
func (c *Conn) Put(_ context.Context, r Route) error {
	if err := c.do(func() error { return netlink.RouteReplace(toKernel(r)) }); err != nil {
		return fmt.Errorf("add route to %s via %s: %w", r.Destination, r.Via, err)
	}
	return nil
}

// Delete removes a route of ours; a missing one is no error.
func (c *Conn) Delete(_ context.Context, r Route) error {
	err := c.do(func() error { return netlink.RouteDel(toKernel(r)) })
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("delete route to %s via %s: %w", r.Destination, r.Via, err)
	}
	return nil
}

// Watch calls removed when a route of ours may have been deleted, or a link comes up, until ctx ends. Links of the group pods
// and ports of bridges do not count: they come and go with pods, and no route of ours leads through them.
func (c *Conn) Watch(ctx context.Context, pods uint32, removed func()) error {
	routes := make(chan netlink.RouteUpdate, 64)
	links := make(chan netlink.LinkUpdate, 64)
	if err := c.do(func() error {
		return errors.Join(netlink.RouteSubscribe(routes, ctx.Done()), netlink.LinkSubscribe(links, ctx.Done()))
	}); err != nil {
		return fmt.Errorf("watch routes: %w", err)
	}
	up := map[int32]bool{}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case update, ok := <-routes:
			if !ok {
				return errors.New("watch routes: the kernel closed the subscription")
			}
			// Of a replacement the kernel tells the new route alone.
			replaced := update.Protocol != Protocol && update.NlFlags&unix.NLM_F_REPLACE != 0
			if replaced || update.Type == unix.RTM_DELROUTE && update.Protocol == Protocol {
				removed()
			}
		case update, ok := <-links:
			if !ok {
				return errors.New("watch links: the kernel closed the subscription")
			}
			// Routes through a link go away with it without a word, so look again when it is back.
			if now := update.Attrs(); now.Group == pods || now.MasterIndex != 0 {
				continue
			}
			running := update.Flags&unix.IFF_RUNNING != 0
			if running && !up[update.Index] {
				removed()
			}
			up[update.Index] = running
		}
	}
}

func (c *Conn) do(fn func() error) error {
	if c.netns == "" {
		return fn()
	}
	return netns.Do(c.netns, fn)
}

func toKernel(r Route) *netlink.Route {
	return &netlink.Route{
		Protocol: Protocol,
		Dst:      &net.IPNet{IP: r.Destination.Addr().AsSlice(), Mask: net.CIDRMask(r.Destination.Bits(), r.Destination.Addr().BitLen())},
		Gw:       r.Via.AsSlice(),
	}
}

func fromKernel(r netlink.Route) (Route, bool) {
	if r.Dst == nil {
		return Route{}, false
	}
	addr, ok := netip.AddrFromSlice(r.Dst.IP)
	via, isVia := netip.AddrFromSlice(r.Gw)
	ones, _ := r.Dst.Mask.Size()
	return Route{netip.PrefixFrom(addr.Unmap(), ones), via.Unmap()}, ok && isVia
}
