// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"net/netip"
	"slices"

	"eastwest/internal/watch"
)

// followRanges keeps the snapshot's ranges of services equal to those that are configured and those of the cluster's ServiceCIDRs, if
// these are to be followed.
func (n *Network) followRanges(ctx context.Context) error {
	set := func(named []netip.Prefix) {
		all := slices.Concat(n.config.ServiceCIDRs, named)
		slices.SortFunc(all, netip.Prefix.Compare)
		n.store.SetServiceCIDRs(slices.Compact(all))
		select {
		case <-n.ranged:
		default:
			close(n.ranged)
		}
	}
	if !n.config.FollowRanges {
		set(nil)
		return nil
	}
	watch.FollowRanges(ctx, n.config.Client, n.config.Log, set)
	return ctx.Err()
}

// setRanges tells all that refuse, or answer for, the addresses of services in which ranges these are. What is served goes on meanwhile: each compares
// what it wrote with what it is to be, and writes the difference.
func (n *Network) setRanges(now []netip.Prefix) {
	n.config.Log.Info("the ranges of services", "before", n.config.ranges.List(), "now", now)
	n.config.ranges.Set(now)
	if n.config.TellRanges != nil {
		n.config.TellRanges(now)
	}
	for _, loop := range n.services {
		loop.Resync()
	}
}
