// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"eastwest/internal/dataplane/nftrules"
	"eastwest/internal/kernel/ipvs"
	"eastwest/internal/kernel/nft"
)

// look reads what the kernel has of ours, and the node's addresses.
func (b *Backend) look(ctx context.Context) (ipvs.Addresses, image, error) {
	have := newImage()
	for family := range families {
		var err error
		have.listings[family], err = b.config.Rules.List(ctx, families[family], TableName)
		if errors.Is(err, nft.ErrNotExist) {
			continue
		}
		if err != nil {
			return ipvs.Addresses{}, have, fmt.Errorf("read services: %w", err)
		}
		for _, set := range setsOf(family) {
			elements, err := b.config.Rules.Elements(ctx, families[family], TableName, set)
			if errors.Is(err, nft.ErrNotExist) {
				break // a table of another version
			}
			if err != nil {
				return ipvs.Addresses{}, have, fmt.Errorf("read services: %w", err)
			}
			for _, e := range elements {
				have.elements[family][place{set, e.Key}] = value{data: e.Data, comment: e.Comment, end: e.KeyEnd}
			}
		}
	}
	addresses, err := b.config.Device.Addresses(ctx)
	if err != nil {
		return addresses, have, err
	}
	known := func(addr netip.Addr) bool {
		_, ok := have.elements[indexOf(addr)][place{setAddress, string(addr.AsSlice())}]
		return ok
	}
	for addr := range addresses.On {
		if !known(addr) && !isAlias(addr) && !addresses.Shared && !addr.IsLinkLocalUnicast() {
			have.elements[indexOf(addr)][place{setAddress, string(addr.AsSlice())}] = value{end: onlyOnDevice}
		}
	}
	return addresses, have, nil
}

// servers adds to have the virtual servers that are ours, or that are wanted.
func (b *Backend) servers(ctx context.Context, addresses ipvs.Addresses, have, want image) error {
	servers, err := b.config.Servers.Servers(ctx)
	if err != nil {
		return err
	}
	for _, s := range servers {
		if _, wanted := want.servers[s.Key]; !wanted && !b.made[s.Key] && !b.ours(s.Key, addresses, have) {
			continue
		}
		destinations, err := b.config.Servers.Destinations(ctx, s.Key)
		if err != nil {
			return err
		}
		kept := server{persistence: s.Persistence, scheduler: s.Scheduler, weights: map[netip.AddrPort]int{}, alias: isAlias(s.Addr)}
		for _, d := range destinations {
			kept.weights[d.Addr] = d.Weight
		}
		have.servers[s.Key] = kept
	}
	return nil
}

func isAlias(addr netip.Addr) bool { return slices.Contains(aliases[:], addr) }

// ours reports whether we made a virtual server: rules know it, or its address is on our device or in the range of services.
func (b *Backend) ours(key ipvs.Key, addresses ipvs.Addresses, have image) bool {
	if _, known := have.elements[indexOf(key.Addr)][place{setVirtual, frontendKey(key)}]; known || isAlias(key.Addr) {
		return true
	}
	return addresses.On[key.Addr] && !addresses.Shared || b.config.ServiceCIDRs.Contains(key.Addr)
}

// learn takes the addresses of the node that no service has, and the aliases that the kernel has.
func (b *Backend) learn(addresses ipvs.Addresses, have image) {
	b.render.node = maps.Clone(addresses.Elsewhere)
	maps.DeleteFunc(b.render.node, func(addr netip.Addr, _ bool) bool {
		_, known := have.elements[indexOf(addr)][place{setAddress, string(addr.AsSlice())}]
		return b.config.ServiceCIDRs.Contains(addr) || isAlias(addr) || known && addresses.Shared
	})
	b.render.aliases = newAllocator(have.elements)
	b.programs[0].own = source(b.render.node)
}

// onlyOnDevice stands for an address that the device has and the rules do not.
const onlyOnDevice = "device"

// source chooses the address that the node's connections to its loopback get.
func source(node map[netip.Addr]bool) netip.Addr {
	var best netip.Addr
	for addr := range node {
		if addr.Is4() && !addr.IsLoopback() && !addr.IsLinkLocalUnicast() && (!best.IsValid() || addr.Less(best)) {
			best = addr
		}
	}
	return best
}

// establish makes the constant part of a table right; a table that is right is left alone.
func (b *Backend) establish(ctx context.Context, family int, listing string) error {
	p := &b.programs[family]
	p.NodeView = b.config.View(p.family == nft.IPv6)
	asWritten := listing != "" && b.written[family] == written{p.text(), listing}
	if asWritten || nftrules.Canonical(listing) == nftrules.Canonical(p.text()) {
		return nil
	}
	b.config.Log.Info("write rules", "family", p.family, "new", listing == "")
	err := b.config.Rules.Run(ctx, p.script(listing))
	if errors.Is(err, nft.ErrExist) {
		b.config.Log.Warn("replace the table of another version", "family", p.family, "err", err)
		err = b.config.Rules.Run(ctx, p.replacement())
	}
	if err != nil {
		return fmt.Errorf("write rules of services: %w", err)
	}
	listing, err = b.config.Rules.List(ctx, p.family, TableName)
	b.written[family] = written{p.text(), listing}
	return err
}
