// SPDX-License-Identifier: Apache-2.0

// Package portmap is the plugin portmap: it sends what comes to ports of this host on to a container.
//
// capability portMappings + the container's addresses in prevResult → entries → elements of constant nftables maps
// (see table.go). Each element's comment names its owner; a port that another container has is refused.
package portmap

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"

	"eastwest/internal/cni/plugin"
)

// Plugin is portmap.
type Plugin struct{}

var _ plugin.Plugin = (*Plugin)(nil)

// New returns the plugin.
func New() *Plugin { return &Plugin{} }

func ownerOf(c *config, args *skel.CmdArgs) plugin.Owner {
	return plugin.Owner{Network: c.Name, ContainerID: args.ContainerID, IfName: args.IfName}
}

// Add maps the ports and passes the result on.
func (*Plugin) Add(ctx context.Context, args *skel.CmdArgs) (types.Result, error) {
	c, err := parse(args.StdinData)
	if err != nil {
		return nil, err
	}
	prev, err := plugin.NeedPrevResult(&c.PluginConf)
	if err != nil || len(c.mappings) == 0 {
		return prev, err
	}
	addrs, owner := containerAddrs(prev, args.IfName), ownerOf(c, args)
	bridged, err := c.prepare(addrs)
	if err != nil {
		return nil, err
	}
	if err := c.mapTo(ctx, addrs, bridged, owner); err != nil {
		return nil, fmt.Errorf("map ports: %w", err)
	}
	c.forgetStale(ctx, args)
	return prev, nil
}

// forgetStale only says what goes wrong: connections that are not forgotten go where they went until they end, which is
// no reason to have no ports at all.
func (c *config) forgetStale(ctx context.Context, args *skel.CmdArgs) {
	if err := forgetStale(c.mappings); err != nil {
		fmt.Fprintf(plugin.Of(ctx).Stderr, "portmap of container %s: %v\n", args.ContainerID, err)
	}
}

// prepare makes the interfaces that lead to a container fit for what is sent on to it, and returns the addresses that are
// reached over a bridge.
func (c *config) prepare(addrs []netip.Prefix) ([]netip.Prefix, error) {
	var bridged []netip.Prefix
	for _, a := range addrs {
		if !c.snat() {
			continue
		}
		l, err := toContainer(a.Addr())
		if err != nil || l == nil {
			return nil, err
		}
		if l.Type() == "bridge" {
			bridged = append(bridged, a)
		}
		if !a.Addr().Is4() {
			continue
		}
		if err := routeLocalnet(l); err != nil {
			return nil, err
		}
	}
	return bridged, nil
}

// mapTo maps the ports to a container's addresses, or none of them.
func (c *config) mapTo(ctx context.Context, addrs, bridged []netip.Prefix, o plugin.Owner) error {
	if c.backend == backendNFTables {
		return apply(ctx, c.table(), desired(c, addrs, bridged, o), bridged, o.String())
	}
	for i, a := range addrs {
		if err := applyChains(ctx, c, o, a); err != nil {
			if i > 0 {
				err = errors.Join(err, removeChains(ctx, o))
			}
			return readable(err)
		}
	}
	return nil
}

// unmap removes an owner's mappings. Those of the configuration are looked up in nftables; where there is none of them, or when some
// cannot be known, the owner may have others, and some that were made by the other backend, under an earlier configuration or by the
// reference plugin.
func (c *config) unmap(ctx context.Context, o plugin.Owner, unknown bool) error {
	found, err := remove(c, o.String())
	if found && !unknown && c.backend == backendNFTables {
		return err
	}
	mine := o.String()
	return errors.Join(err, sweepTables(func(other plugin.Owner) bool { return other.String() != mine }), removeReference(o), removeChains(ctx, o))
}

// desired is what nftables holds of a container, of whose addresses some are reached over a bridge.
func desired(c *config, addrs, bridged []netip.Prefix, o plugin.Owner) []entry {
	var all []entry
	for _, a := range addrs {
		all = append(all, entries(c, a.Addr(), o.String())...)
	}
	for _, a := range bridged {
		all = append(all, nearEntries(c, a, o)...)
	}
	return all
}

// Check looks whether all ports are mapped to the container.
func (*Plugin) Check(ctx context.Context, args *skel.CmdArgs) error {
	c, err := parse(args.StdinData)
	if err != nil {
		return err
	}
	prev, err := plugin.NeedPrevResult(&c.PluginConf)
	if err != nil || len(c.mappings) == 0 {
		return err
	}
	addrs, owner := containerAddrs(prev, args.IfName), ownerOf(c, args)
	if c.backend == backendNFTables {
		return check(desired(c, addrs, nil, owner), owner.String())
	}
	for _, a := range addrs {
		err = errors.Join(err, checkChains(ctx, c, owner, a))
	}
	return err
}

// Del removes the mappings. Connections of UDP that are still known go to the container otherwise, so they are
// forgotten.
func (*Plugin) Del(ctx context.Context, args *skel.CmdArgs) error {
	c, wrong, err := decode(args.StdinData)
	if err != nil || len(c.RuntimeConfig.PortMaps) == 0 {
		return err
	}
	err = c.unmap(ctx, ownerOf(c, args), wrong != nil)
	c.forgetStale(ctx, args)
	return err
}

// GC removes the mappings of attachments that are not valid any more.
func (*Plugin) GC(ctx context.Context, args *skel.CmdArgs) error {
	c, _, err := decode(args.StdinData)
	if err != nil {
		return err
	}
	return Sweep(ctx, plugin.Valid(c.Name, c.ValidAttachments))
}

// Status looks whether the configuration is right.
func (*Plugin) Status(_ context.Context, args *skel.CmdArgs) error {
	_, err := parse(args.StdinData)
	return err
}
