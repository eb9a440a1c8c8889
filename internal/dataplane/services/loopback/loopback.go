// SPDX-License-Identifier: Apache-2.0

// Package loopback puts the addresses that a socket of this node serves (Frontend.LocalSocket) on the node's loopback
// interface, so that packets to them are delivered here.
package loopback

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"eastwest/internal/dataplane"
	"eastwest/internal/table"
)

// Kernel is what the backend needs of the loopback interface.
type Kernel interface {
	List(ctx context.Context) ([]netip.Addr, error)
	Add(ctx context.Context, addr netip.Addr) error
	Delete(ctx context.Context, addr netip.Addr) error
}

// Config is what a Backend needs.
type Config struct {
	Kernel       Kernel
	ServiceCIDRs *dataplane.Ranges // addresses inside of them are ours, all others are left alone
}

// Backend is the dataplane of local service addresses.
type Backend struct{ config Config }

var _ dataplane.Dataplane[table.Service] = (*Backend)(nil)

// New makes a backend; it touches nothing before the first Apply.
func New(config Config) *Backend { return &Backend{config: config} }

// Apply adds and deletes addresses. It looks only at changed rows; deleting waits for a call with changed.All or for a
// changed row that lost its address.
func (b *Backend) Apply(ctx context.Context, want table.Table[table.Service], changed table.Keys) error {
	if !changed.All {
		return b.add(ctx, want, changed.Names)
	}
	wanted := map[netip.Addr]bool{}
	for _, row := range want.All() {
		for _, addr := range addrs(row) {
			wanted[addr] = true
		}
	}
	have, err := b.ours(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, addr := range have {
		if !wanted[addr] {
			errs = append(errs, b.config.Kernel.Delete(ctx, addr))
		}
		delete(wanted, addr)
	}
	for addr := range wanted {
		errs = append(errs, b.config.Kernel.Add(ctx, addr))
	}
	return errors.Join(errs...)
}

func (b *Backend) add(ctx context.Context, want table.Table[table.Service], names []string) error {
	for _, name := range names {
		row, _ := want.Get(name)
		for _, addr := range addrs(row) {
			if err := b.config.Kernel.Add(ctx, addr); err != nil {
				return err
			}
		}
	}
	return nil
}

func addrs(row table.Service) []netip.Addr {
	var out []netip.Addr
	for _, f := range row.Frontends {
		if f.LocalSocket && !slices.Contains(out, f.Addr) {
			out = append(out, f.Addr)
		}
	}
	return out
}

// ours returns the addresses that only this backend can have put there.
func (b *Backend) ours(ctx context.Context) ([]netip.Addr, error) {
	have, err := b.config.Kernel.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("apply local service addresses: %w", err)
	}
	return slices.DeleteFunc(have, func(a netip.Addr) bool {
		return !b.config.ServiceCIDRs.Contains(a)
	}), nil
}

// Remove deletes our addresses.
func (b *Backend) Remove(ctx context.Context) error {
	return b.Apply(ctx, table.Table[table.Service]{}, table.Keys{All: true})
}

// Dump returns our addresses, one a line.
func (b *Backend) Dump(ctx context.Context) (string, error) {
	have, err := b.ours(ctx)
	if err != nil {
		return "", err
	}
	slices.SortFunc(have, netip.Addr.Compare)
	var out strings.Builder
	for _, addr := range have {
		fmt.Fprintln(&out, addr)
	}
	return out.String(), nil
}
