// SPDX-License-Identifier: Apache-2.0

// Package vxlan carries pods' packets between nodes that do not share a network: inside UDP from node to node (RFC 7348).
// For each peer the device has three entries, and a route for each of the peer's pod CIDRs:
//
//	route      10.244.1.0/24 via 10.244.1.0    the peer's end of the overlay
//	neighbour  10.244.1.0 is 0e:…              whose hardware address everybody computes from its name
//	fdb        0e:… is at 192.0.2.11           the node itself
//
// Nothing is learned and nothing flooded. The table eastwest-overlay lets encapsulated packets in from nodes alone, and
// keeps them out of connection tracking: what is never translated has no checksum that translation could break.
package vxlan

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"eastwest/internal/dataplane"
	"eastwest/internal/kernel/nft"
	"eastwest/internal/kernel/vxlan"
	"eastwest/internal/table"
)

// Kernel is what the backend needs of the device.
type Kernel interface {
	MTU(ctx context.Context, local netip.Addr) (int, error)
	Device(ctx context.Context) (vxlan.Device, bool, error)
	Put(ctx context.Context, want vxlan.Device) error
	Delete(ctx context.Context) error
	List(ctx context.Context) ([]vxlan.Entry, error)
	Add(ctx context.Context, e vxlan.Entry) error
	Remove(ctx context.Context, e vxlan.Entry) error
}

// Rules is what it needs of nftables.
type Rules interface {
	Run(ctx context.Context, script string) error
	List(ctx context.Context, family nft.Family, table string) (string, error)
}

// Backend is the routes dataplane with encapsulation.
type Backend struct {
	kernel Kernel
	rules  Rules
}

var _ dataplane.Dataplane[table.Tunnel] = (*Backend)(nil)

// New makes a backend; it touches nothing before the first Apply.
func New(kernel Kernel, rules Rules) *Backend { return &Backend{kernel: kernel, rules: rules} }

// Apply makes the device and its entries equal to want. Nodes come and go rarely, so that it always compares with the
// kernel. An entry that cannot be added does not keep the others from being added.
func (b *Backend) Apply(ctx context.Context, want table.Table[table.Tunnel], _ table.Keys) error {
	self, peers := split(want)
	if self == nil {
		return b.Remove(ctx)
	}
	// The guard is there before anything can come in.
	if err := b.applyGuard(ctx, self.Address, guard(self.Address, peers)); err != nil {
		return fmt.Errorf("apply overlay: %w", err)
	}
	if err := b.applyDevice(ctx, self); err != nil {
		return fmt.Errorf("apply overlay: %w", err)
	}
	have, err := b.kernel.List(ctx)
	if err != nil {
		return fmt.Errorf("apply overlay: %w", err)
	}
	return b.applyEntries(ctx, have, entries(self, peers))
}

// split returns this node's own end, nil without one, and the others sorted by name.
func split(want table.Table[table.Tunnel]) (*table.Tunnel, []table.Tunnel) {
	var self *table.Tunnel
	var peers []table.Tunnel
	for _, key := range want.Keys() {
		if row, _ := want.Get(key); row.Self {
			self = &row
		} else {
			peers = append(peers, row)
		}
	}
	return self, peers
}

func (b *Backend) applyDevice(ctx context.Context, self *table.Tunnel) error {
	mtu, err := b.kernel.MTU(ctx, self.Address)
	if err != nil {
		return err
	}
	want := vxlan.Device{Local: self.Address, MAC: self.MAC, MTU: mtu}
	have, ok, err := b.kernel.Device(ctx)
	if err != nil || ok && have == want {
		return err
	}
	return b.kernel.Put(ctx, want)
}

// entries renders what the device is to know, in the order in which it can be added.
func entries(self *table.Tunnel, peers []table.Tunnel) []vxlan.Entry {
	var out []vxlan.Entry
	for _, pods := range self.Pods {
		end := table.Gateway(pods)
		out = append(out, vxlan.Entry{Kind: vxlan.Address, Prefix: netip.PrefixFrom(end, end.BitLen())})
	}
	for _, peer := range peers {
		if len(peer.Pods) == 0 {
			continue
		}
		out = append(out, vxlan.Entry{Kind: vxlan.Forward, MAC: peer.MAC, Addr: peer.Address})
		for _, pods := range peer.Pods {
			end := table.Gateway(pods)
			out = append(out, vxlan.Entry{Kind: vxlan.Neighbour, Addr: end, MAC: peer.MAC}, vxlan.Entry{Kind: vxlan.Route, Prefix: pods, Addr: end})
		}
	}
	slices.SortStableFunc(out, func(a, b vxlan.Entry) int { return int(a.Kind) - int(b.Kind) })
	return out
}

// applyEntries adds what is missing, and then removes what is not wanted, in the other order.
func (b *Backend) applyEntries(ctx context.Context, have, want []vxlan.Entry) error {
	present, kept := map[vxlan.Entry]bool{}, map[vxlan.Entry]bool{}
	for _, e := range have {
		present[e] = true
	}
	var errs []error
	for _, e := range want {
		kept[e.Key()] = true
		if !present[e] {
			errs = append(errs, b.kernel.Add(ctx, e))
		}
	}
	for _, e := range slices.Backward(have) {
		if !kept[e.Key()] { // a replaced entry is gone with its replacement
			errs = append(errs, b.kernel.Remove(ctx, e))
		}
	}
	return errors.Join(errs...)
}

// Remove deletes the device, and with it all that it knows, and the guard last.
func (b *Backend) Remove(ctx context.Context) error {
	if err := b.kernel.Delete(ctx); err != nil {
		return fmt.Errorf("remove overlay: %w", err)
	}
	return b.applyGuard(ctx, netip.Addr{}, "")
}

// Dump returns the entries and the guard, as iproute2 and nft write them.
func (b *Backend) Dump(ctx context.Context) (string, error) {
	device, ok, err := b.kernel.Device(ctx)
	if err != nil {
		return "", fmt.Errorf("dump overlay: %w", err)
	}
	have, err := b.kernel.List(ctx)
	if err != nil {
		return "", fmt.Errorf("dump overlay: %w", err)
	}
	var lines []string
	if ok {
		lines = append(lines, fmt.Sprintf("device %s local %s address %s mtu %d\n", vxlan.Name, device.Local, device.MAC, device.MTU))
	}
	for _, e := range have {
		lines = append(lines, e.String()+"\n")
	}
	slices.Sort(lines)
	for _, family := range families() {
		listing, err := b.rules.List(ctx, family, TableName)
		if err != nil && !errors.Is(err, nft.ErrNotExist) {
			return "", fmt.Errorf("dump overlay: %w", err)
		}
		lines = append(lines, listing)
	}
	return strings.Join(lines, ""), nil
}
