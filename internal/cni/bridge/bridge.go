// SPDX-License-Identifier: Apache-2.0

// Package bridge is the plugin bridge: containers of a host share a network, a Linux bridge that the host is a member
// of and, if asked for, the gateway of.
//
// bridge → IPAM → veth pair, one end a port of the bridge → addresses and routes in the container → gateway address on
// the bridge, forwarding, masquerading.
package bridge

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/vishvananda/netlink"

	"eastwest/internal/cni/attach"
	"eastwest/internal/cni/forwarding"
	"eastwest/internal/cni/ipam"
	"eastwest/internal/cni/masquerade"
	"eastwest/internal/cni/plugin"
	"eastwest/internal/kernel/link"
)

// Plugin is bridge.
type Plugin struct {
	ipam ipam.Optional
}

var _ plugin.Plugin = (*Plugin)(nil)

// New returns the plugin; it gets addresses through delegate.
func New(delegate *ipam.Delegate) *Plugin { return &Plugin{ipam: ipam.NewOptional(delegate)} }

// Add attaches the container. Without an IPAM plugin it gets no address.
func (p *Plugin) Add(ctx context.Context, args *skel.CmdArgs) (types.Result, error) {
	c, err := parse(args.StdinData, args.Args)
	if err != nil {
		return nil, err
	}
	ns, err := attach.OpenNamespace(args.Netns)
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	if err := attach.RefuseTaken(ns.Link, args); err != nil {
		return nil, err
	}
	result, err := p.ipam.Add(ctx, c.IPAM.Type, args)
	if err != nil {
		return nil, err
	}
	if err := connect(ctx, c, args, ns, result); err != nil {
		return nil, errors.Join(err, p.ipam.Del(ctx, c.IPAM.Type, args))
	}
	if plugin.HasDNS(c.DNS) {
		result.DNS = c.DNS
	}
	return result, nil
}

func connect(ctx context.Context, c *config, args *skel.CmdArgs, ns *attach.Namespace, result *current.Result) error {
	host, err := link.Open()
	if err != nil {
		return err
	}
	defer host.Close()
	br, err := ensureBridge(host, c)
	if err != nil {
		return err
	}
	owner := plugin.Owner{Network: c.Name, ContainerID: args.ContainerID, IfName: args.IfName}
	ends, err := attach.Connect(host, ns.Link, ns.File, attach.Pair{Owner: owner, MTU: c.MTU, MAC: c.mac, NoDAD: true})
	if err != nil {
		return err
	}
	if err := setUp(ctx, c, args, host, ns, br, ends, result); err != nil {
		err = errors.Join(err, attach.Disconnect(host, owner, args.Netns))
		return errors.Join(err, unguard(c, owner))
	}
	return describe(host, c, args, ends, result)
}

func setUp(ctx context.Context, c *config, args *skel.CmdArgs, host *link.Handle, ns *attach.Namespace, br netlink.Link, ends *attach.Ends, result *current.Result) error {
	if err := enslave(host, ends.Host, br, c); err != nil {
		return err
	}
	owner := plugin.Owner{Network: c.Name, ContainerID: args.ContainerID, IfName: args.IfName}
	if err := guard(c, owner, ends, result); err != nil {
		return err
	}
	own := gateways(c, result)
	gateway := br
	if len(own) > 0 {
		var err error
		if gateway, err = gatewayLink(host, br, c); err != nil {
			return err
		}
	}
	for _, address := range own {
		if err := ensureAddress(host, gateway, address, c.ForceAddress); err != nil {
			return err
		}
	}
	if !c.DisableContainerInterface {
		if err := attach.Configure(ns.Link, ends.Container, args.Netns, result, c.EnableDAD); err != nil {
			return err
		}
	}
	if err := forward(gateway.Attrs().Name, own, c.Forwarding); err != nil {
		return err
	}
	if c.IPMasq && len(result.IPs) > 0 {
		if err := masquerade.Add(ctx, c.IPMasqBackend, owner, addresses(result)); err != nil {
			return err
		}
	}
	if c.DisableContainerInterface {
		return nil
	}
	return awaitPort(host, ends.Host.Attrs().Name)
}

func forward(bridge string, own []net.IPNet, scope forwarding.Scope) error {
	v4, v6 := false, false
	for _, a := range own {
		v4, v6 = v4 || attach.IsV4(a.IP), v6 || !attach.IsV4(a.IP)
	}
	return forwarding.Enable(bridge, v4, v6, scope)
}

// describe writes the devices into the result. The bridge is read again: its address can change with its ports.
func describe(host *link.Handle, c *config, args *skel.CmdArgs, ends *attach.Ends, result *current.Result) error {
	br, err := host.LinkByName(c.Bridge)
	if err != nil {
		return fmt.Errorf("look up bridge %s: %w", c.Bridge, err)
	}
	result.Interfaces = []*current.Interface{
		{Name: c.Bridge, Mac: br.Attrs().HardwareAddr.String()},
		{Name: ends.Host.Attrs().Name, Mac: ends.Host.Attrs().HardwareAddr.String()},
		{Name: args.IfName, Mac: ends.Container.Attrs().HardwareAddr.String(), Sandbox: args.Netns},
	}
	return describeVLAN(host, c, result)
}

func addresses(result *current.Result) []net.IPNet {
	out := make([]net.IPNet, len(result.IPs))
	for i, ip := range result.IPs {
		out[i] = ip.Address
	}
	return out
}
