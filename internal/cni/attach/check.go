// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"fmt"
	"net"
	"slices"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/vishvananda/netlink"

	"eastwest/internal/cni/plugin"
	"eastwest/internal/kernel/link"
)

// Check compares a container's interface with the result that made it: its kind, hardware address, addresses, routes.
func Check(args *skel.CmdArgs, prev *current.Result, kind string) error {
	i := slices.IndexFunc(prev.Interfaces, func(i *current.Interface) bool {
		return i.Name == args.IfName && i.Sandbox == args.Netns
	})
	if i < 0 {
		return plugin.ConfigError("prevResult has no interface %s in sandbox %s", args.IfName, args.Netns)
	}
	ns, err := OpenNamespace(args.Netns)
	if err != nil {
		return err
	}
	defer ns.Close()
	l, err := ns.Link.LinkByName(args.IfName)
	if link.IsNotFound(err) {
		return fmt.Errorf("container interface %s in prevResult not found", args.IfName)
	}
	if err != nil {
		return fmt.Errorf("look up %s: %w", args.IfName, err)
	}
	if l.Type() != kind {
		return fmt.Errorf("container interface %s is of type %s, not %s", args.IfName, l.Type(), kind)
	}
	if want := prev.Interfaces[i].Mac; want != "" && want != l.Attrs().HardwareAddr.String() {
		return fmt.Errorf("interface %s has hardware address %s, prevResult says %s", args.IfName, l.Attrs().HardwareAddr, want)
	}
	if err := checkAddresses(ns.Link, l, prev, i); err != nil {
		return err
	}
	return checkRoutes(ns.Link, prev.Routes)
}

func checkAddresses(h *link.Handle, l netlink.Link, prev *current.Result, index int) error {
	have, err := h.AddrList(l, netlink.FAMILY_ALL)
	if err != nil {
		return err
	}
	for _, ip := range prev.IPs {
		if ip.Interface != nil && *ip.Interface != index {
			continue
		}
		if !slices.ContainsFunc(have, func(a netlink.Addr) bool { return equal(a.IPNet, &ip.Address) }) {
			return fmt.Errorf("failed to match addr %s on interface %s", ip.Address.String(), l.Attrs().Name)
		}
	}
	return nil
}

func checkRoutes(h *link.Handle, routes []*types.Route) error {
	for _, want := range routes {
		family := netlink.FAMILY_V6
		if IsV4(want.Dst.IP) {
			family = netlink.FAMILY_V4
		}
		filter := &netlink.Route{}
		mask := uint64(0)
		if want.Table != nil {
			filter.Table, mask = *want.Table, netlink.RT_FILTER_TABLE
		}
		have, err := h.RouteListFiltered(family, filter, mask)
		if err != nil {
			return err
		}
		found := slices.ContainsFunc(have, func(r netlink.Route) bool {
			return equal(r.Dst, &want.Dst) && (want.GW == nil || want.GW.Equal(r.Gw))
		})
		if !found {
			return fmt.Errorf("failed to find route %s via %v in the container", want.Dst.String(), want.GW)
		}
	}
	return nil
}

// equal compares prefixes; nil is the default route's destination in some answers.
func equal(a, b *net.IPNet) bool {
	if a == nil {
		ones, _ := b.Mask.Size()
		return ones == 0
	}
	aOnes, _ := a.Mask.Size()
	bOnes, _ := b.Mask.Size()
	return aOnes == bOnes && a.IP.Equal(b.IP)
}
