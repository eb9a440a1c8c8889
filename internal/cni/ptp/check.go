// SPDX-License-Identifier: Apache-2.0

package ptp

import (
	"context"
	"fmt"
	"net"

	"github.com/containernetworking/cni/pkg/skel"
	current "github.com/containernetworking/cni/pkg/types/100"

	"eastwest/internal/cni/attach"
	"eastwest/internal/cni/plugin"
	"eastwest/internal/cni/sourceguard"
	"eastwest/internal/kernel/link"
)

// Check compares the container's interface, addresses and routes with prevResult.
func (p *Plugin) Check(ctx context.Context, args *skel.CmdArgs) error {
	c, err := parse(args.StdinData)
	if err != nil {
		return err
	}
	if err := p.ipam.Check(ctx, c.IPAM.Type, args); err != nil {
		return err
	}
	prev, err := plugin.NeedPrevResult(&c.PluginConf)
	if err != nil {
		return err
	}
	if err := checkGuard(plugin.Owner{Network: c.Name, ContainerID: args.ContainerID, IfName: args.IfName}, prev); err != nil {
		return err
	}
	return attach.Check(args, prev, "veth")
}

// checkGuard looks at a host's end that this plugin made; one of another implementation has no guard.
func checkGuard(owner plugin.Owner, prev *current.Result) error {
	host, err := link.Open()
	if err != nil {
		return err
	}
	defer host.Close()
	for _, i := range prev.Interfaces {
		if i.Sandbox != "" {
			continue
		}
		l, err := host.LinkByName(i.Name)
		if err != nil {
			return fmt.Errorf("look up %s: %w", i.Name, err)
		}
		if l.Attrs().Group != sourceguard.Group {
			continue
		}
		if err := (sourceguard.Routed{Owner: owner, Link: i.Name, Addresses: addresses(prev)}).Check(); err != nil {
			return err
		}
	}
	return nil
}

func addresses(result *current.Result) []net.IPNet {
	out := make([]net.IPNet, len(result.IPs))
	for i, ip := range result.IPs {
		out[i] = ip.Address
	}
	return out
}
