// SPDX-License-Identifier: Apache-2.0

package ptp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/containernetworking/cni/pkg/skel"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"eastwest/internal/cni/attach"
	"eastwest/internal/cni/forwarding"
	"eastwest/internal/cni/masquerade"
	"eastwest/internal/cni/plugin"
	"eastwest/internal/cni/sourceguard"
	"eastwest/internal/kernel/link"
)

var _ plugin.Restorer = (*Plugin)(nil)

// Restore puts back the way to the container, what it may send from, and its masquerading.
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
	missing, err := restoreWay(owner, l, prev, c.Forwarding)
	if err != nil {
		return missing, err
	}
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

// restoreWay puts back the gateway's addresses and the routes to the container, and has its link up.
func restoreWay(owner plugin.Owner, l netlink.Link, prev *current.Result, scope forwarding.Scope) (missing bool, err error) {
	if err := checkResult(prev); err != nil {
		return false, nil //nolint:nilerr // the result of another implementation
	}
	host, err := link.Open()
	if err != nil {
		return false, err
	}
	defer host.Close()
	whole, err := leads(host, l, prev)
	if err != nil || whole {
		return false, err
	}
	if err := host.LinkSetUp(l); err != nil {
		return true, fmt.Errorf("set %s up: %w", l.Attrs().Name, err)
	}
	if err := setUpHost(host, l, owner, prev, scope); err != nil || !attach.HasV6(prev.IPs) {
		return true, err
	}
	return true, attach.EnsureLinkLocal(host, l)
}

// leads reports whether a container's link is as ADD left it.
func leads(host *link.Handle, l netlink.Link, prev *current.Result) (bool, error) {
	if l.Attrs().Flags&net.FlagUp == 0 {
		return false, nil
	}
	have, err := host.AddrList(l, netlink.FAMILY_ALL)
	if err != nil {
		return false, fmt.Errorf("list addresses of %s: %w", l.Attrs().Name, err)
	}
	if attach.HasV6(prev.IPs) && !attach.HasLinkLocal(l, have) {
		return false, nil
	}
	for _, ip := range prev.IPs {
		if !slices.ContainsFunc(have, func(a netlink.Addr) bool { return a.IP.Equal(ip.Gateway) }) {
			return false, nil
		}
		way, err := host.RouteGet(ip.Address.IP)
		if errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.EHOSTUNREACH) || err == nil && len(way) == 0 {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("find the way to %s: %w", ip.Address.IP, err)
		}
		if way[0].LinkIndex != l.Attrs().Index {
			return false, nil
		}
	}
	return true, nil
}
