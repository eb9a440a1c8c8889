// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"eastwest/internal/kernel/route"
)

// errMoved ends what runs at addresses that the node no longer has.
var errMoved = errors.New("the node's address changed")

// settle is how long an address must be unchanged before it counts: a change is a removal and an addition.
const settle = time.Second

// follow runs the node at the address that its default routes have, one of each family of pods, and again when that
// changes. Pods go on meanwhile, as they do when the agent restarts.
func follow(ctx context.Context, config Config) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	families := familiesOf(config.ClusterCIDRs)
	routing, looks := route.New(""), make(chan struct{}, 1)
	go func() {
		stop(routing.WatchUplink(ctx, func() {
			select {
			case looks <- struct{}{}:
			default:
			}
		}))
	}()
	own, err := awaitAddresses(ctx, config, routing, families, looks)
	for err == nil {
		at := config
		at.NodeIPs = own
		var next []netip.Addr
		here, move := context.WithCancelCause(ctx)
		followed := make(chan struct{})
		go func() {
			defer close(followed)
			if next = awaitMove(here, routing, own, families, looks); next != nil {
				config.Log.WarnContext(ctx, "the node's address changed: start everything at the new one", "before", own, "now", next)
				move(errMoved)
			}
		}()
		err = run(here, at)
		move(nil)
		<-followed
		if errors.Is(err, errMoved) {
			own, err = next, nil
			continue
		}
		return err
	}
	return failure(ctx)
}

func familiesOf(ranges []netip.Prefix) []bool {
	var out []bool
	for _, one := range ranges {
		if ipv6 := one.Addr().Is6(); !slices.Contains(out, ipv6) {
			out = append(out, ipv6)
		}
	}
	return out
}

// addresses returns the node's addresses as they are, or an error that says which is missing.
func addresses(ctx context.Context, routing *route.Conn, families []bool) ([]netip.Addr, error) {
	var out []netip.Addr
	for _, ipv6 := range families {
		address, err := routing.UplinkAddress(ctx, ipv6)
		if err != nil {
			return nil, err
		}
		if !address.IsValid() {
			name := "IPv4"
			if ipv6 {
				name = "IPv6"
			}
			return nil, fmt.Errorf("this machine has no %s default route with an address: give the node's addresses with --node-ip", name)
		}
		out = append(out, address)
	}
	return out, nil
}

// awaitAddresses waits for the first addresses: the network may come up after the agent.
func awaitAddresses(ctx context.Context, config Config, routing *route.Conn, families []bool, looks <-chan struct{}) ([]netip.Addr, error) {
	for told := false; ; told = true {
		select {
		case <-looks:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		own, err := addresses(ctx, routing, families)
		if err == nil {
			config.Log.InfoContext(ctx, "found the node's addresses", "addresses", own)
			return own, nil
		}
		if !told {
			config.Log.WarnContext(ctx, "wait for the node's addresses", "err", err)
		}
	}
}

// awaitMove returns the node's addresses when they are others than before, and nil when ctx ends. An address that is gone
// without another in its place is waited for.
func awaitMove(ctx context.Context, routing *route.Conn, before []netip.Addr, families []bool, looks <-chan struct{}) []netip.Addr {
	for {
		select {
		case <-looks:
		case <-ctx.Done():
			return nil
		}
		now, err := addresses(ctx, routing, families)
		if err != nil || slices.Equal(now, before) {
			continue
		}
		if !sleep(ctx, settle) {
			return nil
		}
		if again, err := addresses(ctx, routing, families); err == nil && slices.Equal(again, now) {
			return now
		}
	}
}
