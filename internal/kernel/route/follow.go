// SPDX-License-Identifier: Apache-2.0

package route

import (
	"context"
	"errors"

	"github.com/vishvananda/netlink"
)

// errMissed says that the kernel told more than could be read.
var errMissed = errors.New("messages of the kernel were missed")

// follow calls look now, after each change of a route that matters or of an address that is not a single host's (pods change
// those all the time), and after messages were missed. It ends with an error: that of look, of the kernel, or of ctx.
func (c *Conn) follow(ctx context.Context, look func() error, matters func(netlink.Route) bool) error {
	for ctx.Err() == nil {
		routes, addresses := make(chan netlink.RouteUpdate, 64), make(chan netlink.AddrUpdate, 64)
		subscribed, stop := context.WithCancel(ctx)
		err := c.do(func() error {
			return errors.Join(netlink.RouteSubscribe(routes, subscribed.Done()), netlink.AddrSubscribe(addresses, subscribed.Done()))
		})
		for err == nil {
			if err = look(); err == nil {
				err = next(ctx, routes, addresses, matters)
			}
		}
		stop()
		if !errors.Is(err, errMissed) {
			return err
		}
	}
	return ctx.Err()
}

// next waits for a change.
func next(ctx context.Context, routes <-chan netlink.RouteUpdate, addresses <-chan netlink.AddrUpdate, matters func(netlink.Route) bool) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case u, ok := <-routes:
			if !ok {
				return errMissed
			}
			if matters(u.Route) {
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
