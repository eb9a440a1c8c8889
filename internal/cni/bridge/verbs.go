// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/containernetworking/cni/pkg/skel"

	"eastwest/internal/cni/attach"
	"eastwest/internal/cni/masquerade"
	"eastwest/internal/cni/plugin"
	"eastwest/internal/kernel/link"
)

// Check compares the bridge and the container's interface, addresses and routes with prevResult.
func (p *Plugin) Check(ctx context.Context, args *skel.CmdArgs) error {
	c, err := parse(args.StdinData, args.Args)
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
	host, err := link.Open()
	if err != nil {
		return err
	}
	defer host.Close()
	br, err := host.LinkByName(c.Bridge)
	if err != nil {
		return fmt.Errorf("look up bridge %s: %w", c.Bridge, err)
	}
	for _, i := range prev.Interfaces {
		if i.Sandbox != "" || i.Name == c.Bridge || c.VLAN != 0 && i.Name == c.vlanLink() {
			continue
		}
		port, err := host.LinkByName(i.Name)
		if err != nil {
			return fmt.Errorf("look up %s: %w", i.Name, err)
		}
		if port.Type() != "veth" {
			continue
		}
		if port.Attrs().MasterIndex != br.Attrs().Index {
			return fmt.Errorf("%s is not a port of bridge %s", i.Name, c.Bridge)
		}
		if err := checkGuard(c, args, i.Name, prev); err != nil {
			return err
		}
	}
	return attach.Check(args, prev, "veth")
}

// Del removes the container's interface and gives its addresses back. The bridge stays.
func (p *Plugin) Del(ctx context.Context, args *skel.CmdArgs) error {
	c, err := decode(args.StdinData)
	if err != nil {
		return err
	}
	owner := plugin.Owner{Network: c.Name, ContainerID: args.ContainerID, IfName: args.IfName}
	// The kernel takes its time for the devices and for rules, and does both at once. The guard stays as long as the port.
	var rules sync.WaitGroup
	var unmasked error
	if c.IPMasq {
		rules.Go(func() { unmasked = masquerade.Delete(ctx, c.IPMasqBackend, owner) })
	}
	host, err := link.Open()
	if err == nil {
		err = attach.Disconnect(host, owner, args.Netns)
		host.Close()
	}
	err = errors.Join(err, unguard(c, owner))
	rules.Wait()
	return errors.Join(err, unmasked, p.ipam.Del(ctx, c.IPAM.Type, args))
}

// GC removes the devices, masquerading and addresses of attachments that are not valid any more.
func (p *Plugin) GC(ctx context.Context, args *skel.CmdArgs) error {
	c, err := decode(args.StdinData)
	if err != nil {
		return err
	}
	alive := plugin.Valid(c.Name, c.ValidAttachments)
	_, err = attach.Sweep(alive)
	err = errors.Join(err, masquerade.Sweep(ctx, alive))
	err = errors.Join(err, sweepGuards(c, alive))
	return errors.Join(err, p.ipam.GC(ctx, c.IPAM.Type, args))
}

// Status asks the IPAM plugin, if there is one.
func (p *Plugin) Status(ctx context.Context, args *skel.CmdArgs) error {
	c, err := parse(args.StdinData, args.Args)
	if err != nil {
		return err
	}
	return p.ipam.Status(ctx, c.IPAM.Type, args)
}
