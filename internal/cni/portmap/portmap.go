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
	current "github.com/containernetworking/cni/pkg/types/100"

	"eastwest/internal/cni/plugin"
)

// Plugin is portmap.
type Plugin struct{}

var _ plugin.Plugin = (*Plugin)(nil)

// New returns the plugin.
func New() *Plugin { return &Plugin{} }

func ownerOf(c *config, args *skel.CmdArgs) string {
	return plugin.Owner{Network: c.Name, ContainerID: args.ContainerID, IfName: args.IfName}.String()
}

// Add maps the ports and passes the result on.
func (*Plugin) Add(_ context.Context, args *skel.CmdArgs) (types.Result, error) {
	c, err := parse(args.StdinData)
	if err != nil {
		return nil, err
	}
	prev, err := plugin.NeedPrevResult(&c.PluginConf)
	if err != nil || len(c.mappings) == 0 {
		return prev, err
	}
	all := desired(c, args, prev)
	if err := apply(all, ownerOf(c, args)); err != nil {
		return nil, fmt.Errorf("map ports: %w", err)
	}
	v4, _ := containerAddrs(prev, args.IfName)
	err = forgetStale(c.mappings)
	if c.snat() && v4.IsValid() {
		err = errors.Join(err, routeLocalnet(v4))
	}
	if err != nil {
		return nil, errors.Join(err, remove(c, ownerOf(c, args)))
	}
	return prev, nil
}

func desired(c *config, args *skel.CmdArgs, prev *current.Result) []entry {
	v4, v6 := containerAddrs(prev, args.IfName)
	var all []entry
	for _, a := range []netip.Addr{v4, v6} {
		all = append(all, entries(c, a, ownerOf(c, args))...)
	}
	return all
}

// Check looks whether all ports are mapped to the container.
func (*Plugin) Check(_ context.Context, args *skel.CmdArgs) error {
	c, err := parse(args.StdinData)
	if err != nil {
		return err
	}
	prev, err := plugin.NeedPrevResult(&c.PluginConf)
	if err != nil || len(c.mappings) == 0 {
		return err
	}
	return check(desired(c, args, prev), ownerOf(c, args))
}

// Del removes the mappings. Connections of UDP that are still known go to the container otherwise, so they are
// forgotten.
func (*Plugin) Del(_ context.Context, args *skel.CmdArgs) error {
	c, err := parse(args.StdinData)
	if err != nil || len(c.mappings) == 0 {
		return err
	}
	return errors.Join(remove(c, ownerOf(c, args)), forgetStale(c.mappings))
}

// GC removes the mappings of attachments that are not valid any more.
func (*Plugin) GC(_ context.Context, args *skel.CmdArgs) error {
	c, err := parse(args.StdinData)
	if err != nil {
		return err
	}
	return Sweep(plugin.Valid(c.Name, c.ValidAttachments))
}

// Status looks whether the configuration is right.
func (*Plugin) Status(_ context.Context, args *skel.CmdArgs) error {
	_, err := parse(args.StdinData)
	return err
}
