// SPDX-License-Identifier: Apache-2.0

// Package loopback is the plugin loopback: it brings the device lo of a container up, and down again.
package loopback

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/vishvananda/netlink"

	"eastwest/internal/cni/attach"
	"eastwest/internal/cni/plugin"
	"eastwest/internal/kernel/link"
)

const device = "lo"

// Plugin is loopback.
type Plugin struct{}

var _ plugin.Plugin = (*Plugin)(nil)

// New returns the plugin.
func New() *Plugin { return &Plugin{} }

// Add brings lo up; the interface name of the call does not matter.
func (*Plugin) Add(_ context.Context, args *skel.CmdArgs) (types.Result, error) {
	var conf types.PluginConf
	if err := plugin.Parse(args.StdinData, &conf); err != nil {
		return nil, err
	}
	prev, err := plugin.PrevResult(&conf)
	if err != nil {
		return nil, err
	}
	ns, err := attach.OpenNamespace(args.Netns)
	if err != nil {
		return nil, err
	}
	defer ns.Close()
	ips, err := raise(ns.Link)
	if err != nil {
		return nil, err
	}
	if prev != nil {
		return prev, nil
	}
	return &current.Result{
		CNIVersion: current.ImplementedSpecVersion,
		Interfaces: []*current.Interface{{Name: device, Mac: "00:00:00:00:00:00", Sandbox: args.Netns}},
		IPs:        ips,
	}, nil
}

// raise brings lo up and returns one address of each family, which the kernel gave it.
func raise(h *link.Handle) ([]*current.IPConfig, error) {
	lo, err := h.LinkByName(device)
	if err != nil {
		return nil, fmt.Errorf("look up %s: %w", device, err)
	}
	if err := h.LinkSetUp(lo); err != nil {
		return nil, fmt.Errorf("set %s up: %w", device, err)
	}
	var ips []*current.IPConfig
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		addrs, err := h.AddrList(lo, family)
		if err != nil {
			return nil, err
		}
		for i, a := range addrs {
			if !a.IP.IsLoopback() {
				return nil, fmt.Errorf("loopback interface found with non-loopback address %q", a.IP)
			}
			if i == 0 {
				ips = append(ips, &current.IPConfig{Interface: current.Int(0), Address: *a.IPNet})
			}
		}
	}
	return ips, nil
}

// Check looks whether lo is up.
func (*Plugin) Check(_ context.Context, args *skel.CmdArgs) error {
	ns, err := attach.OpenNamespace(args.Netns)
	if err != nil {
		return err
	}
	defer ns.Close()
	lo, err := ns.Link.LinkByName(device)
	if err != nil {
		return fmt.Errorf("look up %s: %w", device, err)
	}
	if lo.Attrs().Flags&net.FlagUp == 0 {
		return errors.New("loopback interface is down")
	}
	return nil
}

// Del takes lo down, if there still is a namespace.
func (*Plugin) Del(_ context.Context, args *skel.CmdArgs) error {
	if args.Netns == "" {
		return nil
	}
	container, err := link.OpenAt(args.Netns)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, link.ErrNotNamespace) {
		return nil
	}
	if err != nil {
		return err
	}
	defer container.Close()
	lo, err := container.LinkByName(device)
	if err != nil {
		return fmt.Errorf("look up %s: %w", device, err)
	}
	if err := container.LinkSetDown(lo); err != nil {
		return fmt.Errorf("set %s down: %w", device, err)
	}
	return nil
}

// GC has nothing to do: lo goes with its namespace.
func (*Plugin) GC(context.Context, *skel.CmdArgs) error { return nil }

// Status is always well.
func (*Plugin) Status(context.Context, *skel.CmdArgs) error { return nil }
