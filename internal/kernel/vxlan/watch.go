// SPDX-License-Identifier: Apache-2.0

package vxlan

import (
	"context"
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"eastwest/internal/kernel/netns"
)

// news are the kernel's messages that may be about the device.
type news struct {
	links      chan netlink.LinkUpdate
	addresses  chan netlink.AddrUpdate
	routes     chan netlink.RouteUpdate
	neighbours chan netlink.NeighUpdate
}

// Watch calls changed when something of the device, or the MTU of another link, may have changed, until ctx ends. Changes
// by this program count as well.
func (c *Conn) Watch(ctx context.Context, changed func()) error {
	mtus := map[int32]uint32{}
	for ctx.Err() == nil {
		n, stop, err := c.subscribe(ctx)
		if err != nil {
			return fmt.Errorf("watch device %s: %w", Name, err)
		}
		n.follow(ctx, mtus, changed)
		stop()
		changed() // the kernel had more to say than could be read, and nobody knows what
	}
	return ctx.Err()
}

func (c *Conn) subscribe(ctx context.Context) (*news, context.CancelFunc, error) {
	ctx, stop := context.WithCancel(ctx)
	n := &news{make(chan netlink.LinkUpdate, 64), make(chan netlink.AddrUpdate, 64), make(chan netlink.RouteUpdate, 64), make(chan netlink.NeighUpdate, 64)}
	begin := func() error {
		return errors.Join(
			netlink.LinkSubscribeWithOptions(n.links, ctx.Done(), netlink.LinkSubscribeOptions{ListExisting: true}),
			netlink.AddrSubscribe(n.addresses, ctx.Done()), netlink.RouteSubscribe(n.routes, ctx.Done()), netlink.NeighSubscribe(n.neighbours, ctx.Done()))
	}
	var err error
	if c.netns == "" {
		err = begin()
	} else {
		err = netns.Do(c.netns, begin)
	}
	if err != nil {
		stop()
	}
	return n, stop, err
}

// follow returns when ctx ends or a subscription broke.
func (n *news) follow(ctx context.Context, mtus map[int32]uint32, changed func()) {
	index := -1
	for {
		tell := false
		select {
		case <-ctx.Done():
			return
		case u, ok := <-n.links:
			if !ok {
				return
			}
			i, attrs := u.Index, u.Attrs()
			if attrs.Name == Name {
				index, tell = attrs.Index, true
			}
			old, known := mtus[i]
			mtus[i] = uint32(attrs.MTU)
			tell = tell || known && old != mtus[i]
			if u.Header.Type == unix.RTM_DELLINK {
				delete(mtus, i)
			}
		case u, ok := <-n.addresses:
			if !ok {
				return
			}
			tell = u.LinkIndex == index
		case u, ok := <-n.routes:
			if !ok {
				return
			}
			gone, replaced := u.Type == unix.RTM_DELROUTE, u.NlFlags&unix.NLM_F_REPLACE != 0
			tell = u.Protocol == Protocol && gone || u.Protocol != Protocol && replaced
		case u, ok := <-n.neighbours:
			if !ok {
				return
			}
			tell = u.LinkIndex == index
		}
		if tell {
			changed()
		}
	}
}
