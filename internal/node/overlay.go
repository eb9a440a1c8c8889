// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"

	"eastwest/internal/compile"
	vxlanroutes "eastwest/internal/dataplane/routes/vxlan"
)

func (n *Network) addOverlay() {
	if n.config.Overlay.Any() {
		n.tunnels = newLoop(n, "tunnels", vxlanroutes.New(n.overlay, n.tables))
	}
}

// prepareOverlay does what comes before the first table: it learns which networks this node is on, for a restart must not
// send packets another way for a moment, or, without an overlay, takes away what an agent with one left.
func (n *Network) prepareOverlay(ctx context.Context) error {
	switch {
	case n.tunnels != nil:
		networks, err := n.routing.OnLink(ctx)
		n.store.SetOnLink(networks)
		return err
	case n.config.NoRoutes:
		return nil
	}
	// Without the device there is nothing to ask nft about, which is what every start would wait for.
	if there, err := n.overlay.Exists(); err != nil || !there {
		return err
	}
	return vxlanroutes.New(n.overlay, n.tables).Remove(ctx)
}

func (n *Network) overlayParts() []func(context.Context) error {
	parts := []func(context.Context) error{
		n.tunnels.Run,
		func(ctx context.Context) error { return n.overlay.Watch(ctx, n.tunnels.Resync) },
		func(ctx context.Context) error {
			return n.tables.Watch(ctx, vxlanroutes.TableName, n.tunnels.Resync)
		},
	}
	if n.config.Overlay == compile.OverlayAuto {
		parts = append(parts, func(ctx context.Context) error { return n.routing.WatchOnLink(ctx, n.store.SetOnLink) })
	}
	return parts
}

// podMTU returns the MTU that pods are to have; 0 is the kernel's own. With an overlay every pod has what fits into it,
// for a peer that is on the link today may be behind a router tomorrow.
func (n *Network) podMTU(ctx context.Context) (int, error) {
	if !n.config.Overlay.Any() || len(n.config.NodeIPs) == 0 {
		return 0, nil
	}
	return n.overlay.MTU(ctx, n.config.NodeIPs[0])
}
