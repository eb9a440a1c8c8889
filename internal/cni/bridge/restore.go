// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"context"
	"net"
	"slices"

	"github.com/containernetworking/cni/pkg/skel"
	current "github.com/containernetworking/cni/pkg/types/100"

	"eastwest/internal/cni/attach"
	"eastwest/internal/cni/masquerade"
	"eastwest/internal/cni/plugin"
	"eastwest/internal/cni/sourceguard"
)

var _ plugin.Restorer = (*Plugin)(nil)

// Restore puts back what the container may send from, and its masquerading.
func (*Plugin) Restore(ctx context.Context, args *skel.CmdArgs) (bool, error) {
	c, err := parse(args.StdinData, args.Args)
	if err != nil {
		return false, err
	}
	prev, err := plugin.NeedPrevResult(&c.PluginConf)
	if err != nil {
		return false, err
	}
	owner := plugin.Owner{Network: c.Name, ContainerID: args.ContainerID, IfName: args.IfName}
	l, err := attach.HostEnd(owner)
	if err != nil || l == nil {
		return false, err
	}
	missing, err := restoreGuards(c, owner, l.Attrs().Name, prev)
	if err != nil || !c.IPMasq || len(prev.IPs) == 0 {
		return missing, err
	}
	unmasked, err := masquerade.Restore(ctx, c.IPMasqBackend, owner, addresses(prev))
	return missing || unmasked, err
}

func restoreGuards(c *config, o plugin.Owner, port string, prev *current.Result) (missing bool, err error) {
	i := slices.IndexFunc(prev.Interfaces, func(i *current.Interface) bool { return i.Sandbox != "" && i.Name == o.IfName })
	if i < 0 || !c.MacSpoofCheck && !c.IPSpoofCheck {
		return false, nil
	}
	mac, err := net.ParseMAC(prev.Interfaces[i].Mac)
	if err != nil {
		return false, plugin.ConfigError("prevResult, interface %s: %v", o.IfName, err)
	}
	if c.MacSpoofCheck {
		whole, err := guardsMAC(o)
		if err == nil && !whole {
			missing, err = true, guardMAC(port, mac, o)
		}
		if err != nil {
			return missing, err
		}
	}
	if !c.IPSpoofCheck {
		return missing, nil
	}
	if g := (sourceguard.Bridged{Owner: o, Port: port, MAC: mac, Addresses: addresses(prev)}); g.Check() != nil {
		return true, g.Add()
	}
	return missing, nil
}
