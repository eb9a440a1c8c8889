// SPDX-License-Identifier: Apache-2.0

package route

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// WatchLost calls lost when something may have been taken away that leads to pods, until ctx ends: a route to one host on a link, an address, a
// port's bridge, or a link that is set down, each of veths and bridges alone: other links have addresses of Services, which come and go. What goes
// with its link, as a pod's does, does not count.
func (c *Conn) WatchLost(ctx context.Context, lost func()) error {
	routes, addresses, links := make(chan netlink.RouteUpdate, 64), make(chan netlink.AddrUpdate, 64), make(chan netlink.LinkUpdate, 64)
	if err := c.do(func() error {
		return errors.Join(netlink.RouteSubscribe(routes, ctx.Done()), netlink.AddrSubscribe(addresses, ctx.Done()), netlink.LinkSubscribe(links, ctx.Done()))
	}); err != nil {
		return fmt.Errorf("watch what leads to pods: %w", err)
	}
	up := upLinks{}
	for {
		taken, open := false, true
		var r netlink.RouteUpdate
		var a netlink.AddrUpdate
		var l netlink.LinkUpdate
		select {
		case <-ctx.Done():
			return ctx.Err()
		case r, open = <-routes:
			taken = open && r.Type == unix.RTM_DELROUTE && r.Gw == nil && r.Table != unix.RT_TABLE_LOCAL && single(r.Dst) && c.has(r.LinkIndex)
		case a, open = <-addresses:
			taken = open && !a.NewAddr && c.has(a.LinkIndex)
		case l, open = <-links:
			taken = open && up.lost(l) && c.has(l.Attrs().Index)
		}
		if !open {
			return errors.New("watch what leads to pods: the kernel closed the subscription")
		}
		if taken {
			lost()
		}
	}
}

// upLinks is which links are up.
type upLinks map[int]bool

// lost notes what a link is now, and reports whether it was more. A bridge tells itself of a port that it loses.
func (up upLinks) lost(u netlink.LinkUpdate) bool {
	index, gone := u.Link.Attrs().Index, u.Header.Type == unix.RTM_DELLINK
	if u.Family == unix.AF_BRIDGE {
		return gone
	}
	was := up[index]
	up[index] = u.Flags&unix.IFF_UP != 0 && !gone
	if gone {
		delete(up, index)
	}
	return was && !up[index]
}

// has reports whether there is a veth or a bridge of an index.
func (c *Conn) has(index int) bool {
	var l netlink.Link
	err := c.do(func() (err error) {
		l, err = netlink.LinkByIndex(index)
		return err
	})
	return err == nil && (l.Type() == "veth" || l.Type() == "bridge")
}

func single(dst *net.IPNet) bool {
	if dst == nil {
		return false
	}
	ones, bits := dst.Mask.Size()
	return ones == bits
}
