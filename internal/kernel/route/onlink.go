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
	for ctx.Err() == nil {
		routes, addresses := make(chan netlink.RouteUpdate, 64), make(chan netlink.AddrUpdate, 64)
		subscribed, stop := context.WithCancel(ctx)
		err := c.do(func() error {
			return errors.Join(netlink.RouteSubscribe(routes, subscribed.Done()), netlink.AddrSubscribe(addresses, subscribed.Done()))
		})
		for err == nil {
			var now []netip.Prefix
			if now, err = c.OnLink(ctx); err == nil {
				set(now)
				err = next(ctx, routes, addresses)
			}
		}
		stop()
		if !errors.Is(err, errMissed) {
			return fmt.Errorf("watch this machine's networks: %w", err)
		}
	}
	return ctx.Err()
}

// errMissed says that the kernel told more than could be read.
var errMissed = errors.New("messages of the kernel were missed")

// next waits for a change of a network; changes of single hosts, which pods make all the time, are none.
func next(ctx context.Context, routes <-chan netlink.RouteUpdate, addresses <-chan netlink.AddrUpdate) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case u, ok := <-routes:
			if !ok {
				return errMissed
			}
			if _, is := networkOf(u.Route); is {
				return nil
			}
		case u, ok := <-addresses:
			if !ok {
				return errMissed
			}
			if ones, bits := u.LinkAddress.Mask.Size(); ones != bits {
				return nil
			}
		}
	}
}
