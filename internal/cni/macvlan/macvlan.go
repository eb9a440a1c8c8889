// SPDX-License-Identifier: Apache-2.0

// Package macvlan is the plugin macvlan: a container gets an interface with a hardware address of its own on a network
// that the host is connected to.
//
// master → IPAM → macvlan device in the container → addresses and routes. The host itself is not reached over it: that
// is how macvlan works.
package macvlan

import (
	"context"
	"errors"
	"fmt"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/vishvananda/netlink"

	"eastwest/internal/cni/attach"
	"eastwest/internal/cni/ipam"
	"eastwest/internal/cni/plugin"
	"eastwest/internal/kernel/link"
)

// Plugin is macvlan.
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
	if err := connect(c, args, ns, result); err != nil {
		return nil, errors.Join(err, p.ipam.Del(ctx, c.IPAM.Type, args))
	}
	result.DNS = c.DNS // also if it is empty, as the reference plugin does
	return result, nil
}

func connect(c *config, args *skel.CmdArgs, ns *attach.Namespace, result *current.Result) error {
	l, err := makeDevice(c, args, ns)
	if err != nil {
		return err
	}
	result.Interfaces = []*current.Interface{{Name: args.IfName, Mac: l.Attrs().HardwareAddr.String(), Sandbox: args.Netns}}
	for _, ip := range result.IPs {
		ip.Interface = current.Int(0)
	}
	if err := attach.Configure(ns.Link, l, args.Netns, result, true); err != nil {
		return errors.Join(err, ns.Link.LinkDel(l))
	}
	return nil
}

// makeDevice makes the device in the container's namespace. It gets its name there: the kernel looks whether a name is
// taken in the master's namespace first. A passing name that a crash left is made free.
func makeDevice(c *config, args *skel.CmdArgs, ns *attach.Namespace) (netlink.Link, error) {
	home, done, err := c.home(ns)
	if err != nil {
		return nil, err
	}
	defer done()
	master, err := c.findMaster(home)
	if err != nil {
		return nil, err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = attach.HostName(args.ContainerID, args.IfName, 0)
	attrs.MTU, attrs.ParentIndex, attrs.HardwareAddr = c.MTU, master.Attrs().Index, c.mac
	attrs.Namespace = netlink.NsFd(int(ns.File.Fd()))
	if left, err := ns.Link.LinkByName(attrs.Name); err == nil && left.Type() == kind {
		if err := ns.Link.LinkDel(left); err != nil {
			return nil, fmt.Errorf("delete %s: %w", attrs.Name, err)
		}
	}
	device := &netlink.Macvlan{LinkAttrs: attrs, Mode: c.mode, BCQueueLen: c.BcQueueLen}
	if err := home.LinkAdd(device); err != nil {
		return nil, fmt.Errorf("make macvlan device on %s: %w", master.Attrs().Name, err)
	}
	l, err := ns.Link.LinkByName(attrs.Name)
	if err != nil {
		return nil, fmt.Errorf("look up macvlan device in the container: %w", err)
	}
	if err := ns.Link.LinkSetName(l, args.IfName); err != nil {
		return nil, errors.Join(fmt.Errorf("name macvlan device %s: %w", args.IfName, err), ns.Link.LinkDel(l))
	}
	l.Attrs().Name = args.IfName
	return l, nil
}

// home is the namespace that the master is in: the host's, or the container's with linkInContainer.
func (c *config) home(ns *attach.Namespace) (*link.Handle, func(), error) {
	if c.LinkInContainer {
		return ns.Link, func() {}, nil
	}
	h, err := link.Open()
	if err != nil {
		return nil, nil, err
	}
	return h, h.Close, nil
}

// Check compares the container's interface, addresses and routes with prevResult, and the mode with the configuration.
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
	ns, err := attach.OpenNamespace(args.Netns)
	if err != nil {
		return err
	}
	defer ns.Close()
	home, done, err := c.home(ns)
	if err != nil {
		return err
	}
	defer done()
	if _, err := c.findMaster(home); err != nil {
		return err
	}
	if err := attach.Check(args, prev, kind); err != nil {
		return err
	}
	l, err := ns.Link.LinkByName(args.IfName)
	if err != nil {
		return fmt.Errorf("look up %s: %w", args.IfName, err)
	}
	if m, ok := l.(*netlink.Macvlan); ok && m.Mode != c.mode {
		return fmt.Errorf("container macvlan mode %s does not match expected value: %s", modeName(m.Mode), modeName(c.mode))
	}
	return nil
}

// Del removes the interface and gives the addresses back.
func (p *Plugin) Del(ctx context.Context, args *skel.CmdArgs) error {
	c, err := decode(args.StdinData)
	if err != nil {
		return err
	}
	for _, name := range []string{args.IfName, attach.HostName(args.ContainerID, args.IfName, 0)} {
		err = errors.Join(err, attach.DeleteInside(args.Netns, name))
	}
	return errors.Join(err, p.ipam.Del(ctx, c.IPAM.Type, args))
}

// GC gives back the addresses of attachments that are not valid any more; their devices went with their namespaces.
func (p *Plugin) GC(ctx context.Context, args *skel.CmdArgs) error {
	c, err := decode(args.StdinData)
	if err != nil {
		return err
	}
	return p.ipam.GC(ctx, c.IPAM.Type, args)
}

// Status looks for the master and asks the IPAM plugin.
func (p *Plugin) Status(ctx context.Context, args *skel.CmdArgs) error {
	c, err := parse(args.StdinData, args.Args)
	if err != nil {
		return err
	}
	if !c.LinkInContainer {
		h, err := link.Open()
		if err != nil {
			return err
		}
		defer h.Close()
		if _, err := c.findMaster(h); err != nil {
			return types.NewError(types.ErrPluginNotAvailable, err.Error(), "")
		}
	}
	return p.ipam.Status(ctx, c.IPAM.Type, args)
}
