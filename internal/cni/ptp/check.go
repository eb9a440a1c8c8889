// SPDX-License-Identifier: Apache-2.0

package ptp

import (
	"context"
	"net"

	"github.com/containernetworking/cni/pkg/skel"
	current "github.com/containernetworking/cni/pkg/types/100"

	"eastwest/internal/cni/attach"
	"eastwest/internal/cni/plugin"
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
	return attach.Check(args, prev, "veth")
}

func addresses(result *current.Result) []net.IPNet {
	out := make([]net.IPNet, len(result.IPs))
	for i, ip := range result.IPs {
		out[i] = ip.Address
	}
	return out
}
