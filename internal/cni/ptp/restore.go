// SPDX-License-Identifier: Apache-2.0

package ptp

import (
	"context"

	"github.com/containernetworking/cni/pkg/skel"

	"eastwest/internal/cni/attach"
	"eastwest/internal/cni/masquerade"
	"eastwest/internal/cni/plugin"
	"eastwest/internal/cni/sourceguard"
)

var _ plugin.Restorer = (*Plugin)(nil)

// Restore puts back what the container may send from, and its masquerading.
func (*Plugin) Restore(ctx context.Context, args *skel.CmdArgs) (bool, error) {
	c, err := parse(args.StdinData)
	if err != nil {
		return false, err
	}
	prev, err := plugin.NeedPrevResult(&c.PluginConf)
	if err != nil {
		return false, err
	}
	owner := plugin.Owner{Network: c.Name, ContainerID: args.ContainerID, IfName: args.IfName}
	l, err := attach.HostEnd(owner)
	if err != nil || l == nil || l.Attrs().Group != sourceguard.Group {
		return false, err // gone, or another implementation's
	}
	missing := false
	if g := (sourceguard.Routed{Owner: owner, Link: l.Attrs().Name, Addresses: addresses(prev)}); g.Check() != nil {
		missing = true
		if err := g.Add(); err != nil {
			return missing, err
		}
	}
	if !c.IPMasq {
		return missing, nil
	}
	unmasked, err := masquerade.Restore(ctx, c.IPMasqBackend, owner, addresses(prev))
	return missing || unmasked, err
}
