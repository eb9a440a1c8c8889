// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"context"
	"fmt"
	"net"
	"slices"

	"github.com/containernetworking/cni/pkg/skel"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/vishvananda/netlink"

	"eastwest/internal/cni/attach"
	"eastwest/internal/cni/masquerade"
	"eastwest/internal/cni/plugin"
	"eastwest/internal/cni/sourceguard"
	"eastwest/internal/kernel/link"
)

var _ plugin.Restorer = (*Plugin)(nil)

// Restore puts back the bridge and its port, what the container may send from, and its masquerading.
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
	missing, err := restorePort(c, l, prev)
	if err != nil {
		return missing, err
	}
	unguarded, err := restoreGuards(c, owner, l.Attrs().Name, prev)
	missing = missing || unguarded
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

// restorePort has the host's end be a port of the bridge again, and the bridge be there with what it has as the gateway. One that is made
// anew gets the hardware address that containers know.
func restorePort(c *config, port netlink.Link, prev *current.Result) (missing bool, err error) {
	host, err := link.Open()
	if err != nil {
		return false, err
	}
	defer host.Close()
	own := gateways(c, prev)
	whole, err := joined(host, c, port, own)
	if err != nil || whole {
		return false, err
	}
	br, err := ensureBridge(host, c)
	if err != nil {
		return true, err
	}
	if mac, err := net.ParseMAC(prev.Interfaces[0].Mac); err == nil && c.VLAN == 0 {
		br.Attrs().HardwareAddr = mac // which ensureAddress sets
	}
	if err := enslave(host, port, br, c); err != nil {
		return true, err
	}
	if err := host.LinkSetUp(port); err != nil {
		return true, fmt.Errorf("set %s up: %w", port.Attrs().Name, err)
	}
	gateway := br
	if len(own) > 0 {
		if gateway, err = gatewayLink(host, br, c); err != nil {
			return true, err
		}
	}
	for _, address := range own {
		if err := ensureAddress(host, gateway, address, c.ForceAddress); err != nil {
			return true, err
		}
	}
	if err := forward(gateway.Attrs().Name, own, c.Forwarding); err != nil || !attach.HasV6(prev.IPs) || len(own) == 0 {
		return true, err
	}
	return true, attach.EnsureLinkLocal(host, gateway)
}

// joined reports whether a port and its bridge are as ADD left them.
func joined(host *link.Handle, c *config, port netlink.Link, own []net.IPNet) (bool, error) {
	br, err := host.LinkByName(c.Bridge)
	if link.IsNotFound(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look up bridge %s: %w", c.Bridge, err)
	}
	up := br.Attrs().Flags & port.Attrs().Flags & net.FlagUp
	if up == 0 || port.Attrs().MasterIndex != br.Attrs().Index {
		return false, nil
	}
	if len(own) == 0 {
		return true, nil
	}
	gateway := br
	if c.VLAN != 0 {
		if gateway, err = host.LinkByName(c.vlanLink()); link.IsNotFound(err) {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("look up the gateway's interface %s: %w", c.vlanLink(), err)
		}
	}
	return answers(host, gateway, own)
}

// answers reports whether the gateway's interface has its addresses.
func answers(host *link.Handle, gateway netlink.Link, own []net.IPNet) (bool, error) {
	have, err := host.AddrList(gateway, netlink.FAMILY_ALL)
	if err != nil {
		return false, fmt.Errorf("list addresses of %s: %w", gateway.Attrs().Name, err)
	}
	if slices.ContainsFunc(own, func(a net.IPNet) bool { return !attach.IsV4(a.IP) }) && !attach.HasLinkLocal(gateway, have) {
		return false, nil
	}
	for _, want := range own {
		if !slices.ContainsFunc(have, func(a netlink.Addr) bool { return a.IP.Equal(want.IP) }) {
			return false, nil
		}
	}
	return true, nil
}
