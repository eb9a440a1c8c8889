// SPDX-License-Identifier: Apache-2.0

// Package tuning is the plugin tuning: it sets kernel parameters of a container's network namespace and attributes of
// its interface that another plugin made.
//
// configuration → allow list → what the interface was before, kept in a file → parameters and attributes. DEL brings the
// attributes back, since the interface may be one that outlives the container; parameters go with the namespace.
package tuning

import (
	"context"
	"errors"
	"fmt"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"

	"eastwest/internal/cni/attach"
	"eastwest/internal/cni/plugin"
	"eastwest/internal/kernel/link"
	"eastwest/internal/kernel/netns"
	"eastwest/internal/kernel/sysctl"
)

// Plugin is tuning.
type Plugin struct{}

var _ plugin.Plugin = (*Plugin)(nil)

// New returns the plugin.
func New() *Plugin { return &Plugin{} }

// Add tunes and passes the result on, with the interface's new hardware address.
func (*Plugin) Add(ctx context.Context, args *skel.CmdArgs) (types.Result, error) {
	c, err := parseWanted(ctx, args)
	if err != nil {
		return nil, err
	}
	if err := c.checkAllowed(allowListFile); err != nil {
		return nil, err
	}
	prev, err := plugin.NeedPrevResult(&c.PluginConf)
	if err != nil {
		return nil, err
	}
	if err := c.setParameters(args); err != nil {
		return nil, err
	}
	if c.want.empty() {
		return prev, nil
	}
	if err := c.tune(args); err != nil {
		return nil, errors.Join(err, c.restore(args))
	}
	if c.want.MAC != "" {
		setMAC(prev, args.IfName, c.want.MAC)
	}
	return prev, nil
}

func setMAC(result *current.Result, ifName, mac string) {
	for _, i := range result.Interfaces {
		if i.Name == ifName {
			i.Mac = mac
		}
	}
}

// setParameters writes the parameters inside the container's namespace.
func (c *config) setParameters(args *skel.CmdArgs) error {
	return c.eachParameter(args, func(name, value string) error { return sysctl.Set(name, value) })
}

func (c *config) eachParameter(args *skel.CmdArgs, fn func(name, value string) error) error {
	if len(c.SysCtl) == 0 {
		return nil
	}
	for key := range c.SysCtl {
		if _, err := parameter(key, args.IfName); err != nil {
			return err
		}
	}
	return netns.Do(args.Netns, func() error {
		for key, value := range c.SysCtl {
			name, err := parameter(key, args.IfName)
			if err == nil {
				err = fn(name, value)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

func (c *config) tune(args *skel.CmdArgs) error {
	ns, err := attach.OpenNamespace(args.Netns)
	if err != nil {
		return err
	}
	defer ns.Close()
	l, err := ns.Link.LinkByName(args.IfName)
	if err != nil {
		return fmt.Errorf("look up %s in the container: %w", args.IfName, err)
	}
	if err := c.backUp(args, l); err != nil {
		return types.NewError(types.ErrIOFailure, err.Error(), "")
	}
	return c.want.apply(ns.Link, l)
}

// restore gives the interface its attributes back; what is not there any more needs none.
func (c *config) restore(args *skel.CmdArgs) error {
	before, err := c.readBackup(args)
	if before == nil || err != nil {
		return err
	}
	if err := before.applyIn(args); err != nil {
		return err
	}
	return c.removeBackup(args)
}

func (a *attributes) applyIn(args *skel.CmdArgs) error {
	if args.Netns == "" {
		return nil
	}
	ns, err := attach.OpenNamespace(args.Netns)
	if err != nil {
		return nil // gone, and the interface with it or back on the host
	}
	defer ns.Close()
	l, err := ns.Link.LinkByName(args.IfName)
	if link.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look up %s in the container: %w", args.IfName, err)
	}
	return a.apply(ns.Link, l)
}

// Check compares parameters and attributes with the configuration.
func (*Plugin) Check(ctx context.Context, args *skel.CmdArgs) error {
	c, err := parseWanted(ctx, args)
	if err != nil {
		return err
	}
	if _, err := plugin.NeedPrevResult(&c.PluginConf); err != nil {
		return err
	}
	err = c.eachParameter(args, func(name, want string) error {
		have, err := sysctl.Get(name)
		if err == nil && have != want {
			err = fmt.Errorf("configured value of %s is %s, current value is %s", name, want, have)
		}
		return err
	})
	if err != nil {
		return err
	}
	ns, err := attach.OpenNamespace(args.Netns)
	if err != nil {
		return err
	}
	defer ns.Close()
	l, err := ns.Link.LinkByName(args.IfName)
	if err != nil {
		return fmt.Errorf("cannot find container link %s: %w", args.IfName, err)
	}
	return c.want.compare(l)
}

// Del brings the interface's attributes back. An interface that does not take them back is no reason to keep the
// container.
func (*Plugin) Del(ctx context.Context, args *skel.CmdArgs) error {
	c, err := configured(ctx, args)
	if err != nil {
		return err
	}
	if err := c.restore(args); err != nil {
		fmt.Fprintf(plugin.Of(ctx).Stderr, "tuning DEL of container %s interface %s: %v\n", args.ContainerID, args.IfName, err)
		return c.removeBackup(args)
	}
	return nil
}

// GC removes what is kept of attachments that are not valid any more.
func (*Plugin) GC(ctx context.Context, args *skel.CmdArgs) error {
	c, err := configured(ctx, args)
	if err != nil {
		return err
	}
	return c.sweepBackups(plugin.Valid(c.Name, c.ValidAttachments))
}

// Status looks whether the configuration is right and its parameters are allowed.
func (*Plugin) Status(ctx context.Context, args *skel.CmdArgs) error {
	c, err := parseWanted(ctx, args)
	if err != nil {
		return err
	}
	return c.checkAllowed(allowListFile)
}
