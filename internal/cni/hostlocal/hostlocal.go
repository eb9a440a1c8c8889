// SPDX-License-Identifier: Apache-2.0

// Package hostlocal is the IPAM plugin host-local: it hands out addresses from configured ranges and keeps who holds
// them in files on this host.
//
// configuration → range sets → one address of each set, under a lock on the network's folder → lease files. Keys,
// results and files are those of the reference plugin: either one goes on with the other's leases.
package hostlocal

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"

	"eastwest/internal/cni/plugin"
)

// Plugin is host-local.
type Plugin struct{}

var _ plugin.Plugin = (*Plugin)(nil)

// New returns the plugin.
func New() *Plugin { return &Plugin{} }

// Add reserves an address of every range set.
func (*Plugin) Add(ctx context.Context, args *skel.CmdArgs) (types.Result, error) {
	c, err := configured(ctx, args)
	if err != nil {
		return nil, err
	}
	result := &current.Result{CNIVersion: current.ImplementedSpecVersion, Routes: c.routes}
	if c.resolvConf != "" {
		if result.DNS, err = readResolvConf(c.resolvConf); err != nil {
			return nil, err
		}
	}
	s, err := openStore(c.dataDir, c.network)
	if err != nil {
		return nil, types.NewError(types.ErrIOFailure, err.Error(), "")
	}
	defer s.close()
	result.IPs, err = s.allocateAll(c, newOwner(args.ContainerID, args.IfName))
	if err != nil {
		return nil, err
	}
	return result, nil
}

// allocateAll takes an address from each set, or from none.
func (s *store) allocateAll(c *config, o owner) ([]*current.IPConfig, error) {
	asked := slices.Clone(c.requested)
	var got []*current.IPConfig
	undo := func(err error) error {
		for _, ip := range got {
			a, _ := netip.AddrFromSlice(ip.Address.IP)
			err = errors.Join(err, s.remove(a.Unmap()))
		}
		return errors.Join(err, s.rebuildIndex())
	}
	for part, set := range c.sets {
		var want netip.Addr
		if i := slices.IndexFunc(asked, func(a netip.Addr) bool { return set.find(a) >= 0 }); i >= 0 {
			want = asked[i]
			asked = slices.Delete(asked, i, i+1)
		}
		ip, err := s.allocate(set, part, o, want)
		if err != nil {
			err = fmt.Errorf("failed to allocate for range %d: %w", part, err)
			if len(got) > 0 {
				err = undo(err)
			}
			return nil, err
		}
		got = append(got, ip)
	}
	if len(asked) > 0 {
		texts := make([]string, len(asked))
		for i, a := range asked {
			texts[i] = a.String()
		}
		return nil, undo(fmt.Errorf("failed to allocate all requested IPs: %s: in no range, or in one that another requested address is in", strings.Join(texts, " ")))
	}
	return got, nil
}

// Check looks whether the container holds an address.
func (*Plugin) Check(ctx context.Context, args *skel.CmdArgs) error {
	c, err := configured(ctx, args)
	if err != nil {
		return err
	}
	s, err := openStore(c.dataDir, c.network)
	if err != nil {
		return types.NewError(types.ErrIOFailure, err.Error(), "")
	}
	defer s.close()
	for _, o := range []owner{newOwner(args.ContainerID, args.IfName), newOwner(args.ContainerID, "")} {
		addrs, err := s.find(o)
		if err != nil || len(addrs) > 0 {
			return err
		}
	}
	return fmt.Errorf("failed to find address added by container %s", args.ContainerID)
}

// Del frees the container's addresses.
func (*Plugin) Del(ctx context.Context, args *skel.CmdArgs) error {
	c, err := configuredAnyhow(ctx, args)
	if err != nil {
		return err
	}
	s, err := openStore(c.dataDir, c.network)
	if err != nil {
		return types.NewError(types.ErrIOFailure, err.Error(), "")
	}
	defer s.close()
	_, err = s.release(newOwner(args.ContainerID, args.IfName))
	return err
}

// GC frees the addresses of attachments that are not valid any more.
func (*Plugin) GC(ctx context.Context, args *skel.CmdArgs) error {
	c, err := configuredAnyhow(ctx, args)
	if err != nil {
		return err
	}
	valid := map[owner]bool{}
	for _, a := range c.valid {
		valid[newOwner(a.ContainerID, a.IfName)] = true
		valid[newOwner(a.ContainerID, "")] = true
	}
	_, err = Sweep(c.dataDir, c.network, func(container, ifName string) bool { return valid[newOwner(container, ifName)] })
	return err
}

// Status looks whether the configuration is right and the leases can be opened.
func (*Plugin) Status(ctx context.Context, args *skel.CmdArgs) error {
	c, err := configured(ctx, args)
	if err != nil {
		return err
	}
	s, err := openStore(c.dataDir, c.network)
	if err != nil {
		return types.NewError(types.ErrPluginNotAvailable, err.Error(), "")
	}
	s.close()
	return nil
}

// Sweep frees the leases in dataDir of a network whose holder is not alive and returns their addresses. An empty
// interface name stands for leases that name the container alone.
func Sweep(dataDir, network string, alive func(container, ifName string) bool) ([]netip.Addr, error) {
	s, err := openStore(dataDir, network)
	if err != nil {
		return nil, err
	}
	defer s.close()
	all, err := s.leases()
	if err != nil {
		return nil, err
	}
	var freed []netip.Addr
	for _, l := range all {
		if alive(l.owner.container, l.owner.ifName) {
			continue
		}
		if err := s.remove(l.addr); err != nil {
			return freed, err
		}
		freed = append(freed, l.addr)
	}
	if len(freed) == 0 {
		return nil, nil
	}
	return freed, s.rebuildIndex()
}
