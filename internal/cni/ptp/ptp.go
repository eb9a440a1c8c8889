// SPDX-License-Identifier: Apache-2.0

// Package ptp is the plugin ptp: a veth pair for each container, with the gateway address on the host's end and a
// route to the container over it.
//
// IPAM → veth pair → host's end: gateway address, route to the container → container's end: address, routes through
// the gateway. There is no network that containers share: everything that a container sends goes to the host first.
package ptp

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"

	"eastwest/internal/cni/attach"
	"eastwest/internal/cni/forwarding"
	"eastwest/internal/cni/ipam"
	"eastwest/internal/cni/masquerade"
	"eastwest/internal/cni/plugin"
	"eastwest/internal/cni/sourceguard"
	"eastwest/internal/kernel/link"
)

// Plugin is ptp.
type Plugin struct {
	ipam *ipam.Delegate
}

var _ plugin.Plugin = (*Plugin)(nil)

// New returns the plugin; it gets addresses through ipam.
func New(ipam *ipam.Delegate) *Plugin { return &Plugin{ipam: ipam} }

type config struct {
	types.PluginConf
	IPMasq        bool   `json:"ipMasq"`
	IPMasqBackend string `json:"ipMasqBackend"`
	MTU           int    `json:"mtu"`

	Forwarding forwarding.Scope `json:"forwarding"` // not one of the reference plugin
}

// decode reads a configuration without judging it. DEL and GC need no more: what ADD refused, or takes no longer, must not keep the
// container that came of it.
func decode(stdin []byte) (*config, error) {
	c := &config{}
	return c, plugin.Parse(stdin, c)
}

// parse reads and checks a configuration.
func parse(stdin []byte) (*config, error) {
	c, err := decode(stdin)
	if err != nil {
		return nil, err
	}
	if c.MTU < 0 {
		return nil, plugin.ConfigError("mtu %d is negative", c.MTU)
	}
	return c, errors.Join(masquerade.CheckBackend(c.IPMasqBackend), forwarding.CheckScope(c.Forwarding))
}

// Add attaches the container.
func (p *Plugin) Add(ctx context.Context, args *skel.CmdArgs) (types.Result, error) {
	c, err := parse(args.StdinData)
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
	if err := p.connect(ctx, c, args, ns, result); err != nil {
		return nil, errors.Join(err, p.ipam.Del(ctx, c.IPAM.Type, args))
	}
	if plugin.HasDNS(c.DNS) {
		result.DNS = c.DNS
	}
	return result, nil
}

func (p *Plugin) connect(ctx context.Context, c *config, args *skel.CmdArgs, ns *attach.Namespace, result *current.Result) error {
	if err := checkResult(result); err != nil {
		return err
	}
	host, err := link.Open()
	if err != nil {
		return err
	}
	defer host.Close()
	owner := plugin.Owner{Network: c.Name, ContainerID: args.ContainerID, IfName: args.IfName}
	ends, err := attach.Connect(host, ns.Link, ns.File, attach.Pair{Owner: owner, MTU: c.MTU, Group: sourceguard.Group, NoDAD: attach.HasV6(result.IPs)})
	if err != nil {
		return err
	}
	describe(result, ends, args)
	err = setUpContainer(ns.Link, ends.Container, args.Netns, result)
	if err == nil {
		err = setUpHost(host, ends.Host, owner, result, c.Forwarding)
	}
	if err == nil && c.IPMasq {
		err = masquerade.Add(ctx, c.IPMasqBackend, owner, addresses(result))
	}
	if err != nil {
		return errors.Join(err, attach.Disconnect(host, owner, args.Netns), sourceguard.Remove(owner))
	}
	return nil
}

func checkResult(result *current.Result) error {
	if len(result.IPs) == 0 {
		return errors.New("IPAM plugin returned missing IP config")
	}
	for _, ip := range result.IPs {
		if ip.Gateway == nil {
			return fmt.Errorf("IPAM plugin returned address %s without a gateway, which the point-to-point link needs", ip.Address.String())
		}
	}
	return nil
}

// describe writes the two devices into the result; all addresses are the container's.
func describe(result *current.Result, ends *attach.Ends, args *skel.CmdArgs) {
	result.Interfaces = []*current.Interface{
		{Name: ends.Host.Attrs().Name, Mac: ends.Host.Attrs().HardwareAddr.String()},
		{Name: args.IfName, Mac: ends.Container.Attrs().HardwareAddr.String(), Sandbox: args.Netns},
	}
	for _, ip := range result.IPs {
		ip.Interface = current.Int(1)
	}
}

// Del gives the addresses back and removes the veth pair. The pair goes first, so that an address is never given to
// another container while the route to this one exists; both are tried whatever happens to the other.
func (p *Plugin) Del(ctx context.Context, args *skel.CmdArgs) error {
	c, err := decode(args.StdinData)
	if err != nil {
		return err
	}
	owner := plugin.Owner{Network: c.Name, ContainerID: args.ContainerID, IfName: args.IfName}
	// The kernel takes its time for the devices and for rules, and does both at once: without its guard a link lets nothing in.
	var rules sync.WaitGroup
	var unguarded, unmasked error
	rules.Go(func() {
		unguarded = sourceguard.Remove(owner)
		if c.IPMasq {
			unmasked = masquerade.Delete(ctx, c.IPMasqBackend, owner)
		}
	})
	err = disconnect(owner, args.Netns)
	rules.Wait()
	return errors.Join(err, unguarded, unmasked, p.ipam.Del(ctx, c.IPAM.Type, args))
}

func disconnect(owner plugin.Owner, sandbox string) error {
	host, err := link.Open()
	if err != nil {
		return err
	}
	defer host.Close()
	return attach.Disconnect(host, owner, sandbox)
}

// GC removes the devices, masquerading and addresses of attachments that are not valid any more.
func (p *Plugin) GC(ctx context.Context, args *skel.CmdArgs) error {
	c, err := decode(args.StdinData)
	if err != nil {
		return err
	}
	alive := plugin.Valid(c.Name, c.ValidAttachments)
	_, err = attach.Sweep(alive)
	return errors.Join(err, masquerade.Sweep(ctx, alive), sourceguard.Sweep(alive), p.ipam.GC(ctx, c.IPAM.Type, args))
}

// Status asks the IPAM plugin.
func (p *Plugin) Status(ctx context.Context, args *skel.CmdArgs) error {
	c, err := parse(args.StdinData)
	if err != nil {
		return err
	}
	return p.ipam.Status(ctx, c.IPAM.Type, args)
}
