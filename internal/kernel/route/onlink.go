// SPDX-License-Identifier: Apache-2.0

package route

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// OnLink returns the networks that this machine is on, sorted: what it reaches over a link without a next hop. Single
// hosts, such as the pods at the ends of veths, are no network.
func (c *Conn) OnLink(ctx context.Context) ([]netip.Prefix, error) {
	var out []netip.Prefix
	err := c.do(func() error {
		for ctx.Err() == nil {
			list, err := netlink.RouteList(nil, netlink.FAMILY_ALL)
			if errors.Is(err, netlink.ErrDumpInterrupted) {
				continue
			}
			for _, r := range list {
				if network, ok := networkOf(r); ok {
					out = append(out, network)
				}
			}
			return err
		}
		return ctx.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("list this machine's networks: %w", err)
	}
	slices.SortFunc(out, func(a, b netip.Prefix) int {
		if c := a.Addr().Compare(b.Addr()); c != 0 {
			return c
		}
		return a.Bits() - b.Bits()
	})
	return slices.Compact(out), nil
}

func networkOf(r netlink.Route) (netip.Prefix, bool) {
	if r.Dst == nil || r.Gw != nil || r.Via != nil || len(r.MultiPath) > 0 || r.Type != unix.RTN_UNICAST {
		return netip.Prefix{}, false
	}
	addr, ok := netip.AddrFromSlice(r.Dst.IP)
	ones, bits := r.Dst.Mask.Size()
	if !ok || ones == 0 || ones == bits || addr.IsLinkLocalUnicast() || addr.IsMulticast() {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(addr.Unmap(), ones), true
}

// WatchOnLink calls set with the networks that this machine is on, now and whenever routes or addresses change, until ctx
// ends.
func (c *Conn) WatchOnLink(ctx context.Context, set func([]netip.Prefix)) error {
	look := func() error {
		now, err := c.OnLink(ctx)
		if err == nil {
			set(now)
		}
		return err
	}
	isNetwork := func(r netlink.Route) bool { _, is := networkOf(r); return is }
	return fmt.Errorf("watch this machine's networks: %w", c.follow(ctx, look, isNetwork))
}
