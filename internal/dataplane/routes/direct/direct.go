// SPDX-License-Identifier: Apache-2.0

// Package direct carries pods' packets between nodes that share a network: one kernel route for each other node's pod
// CIDR, via that node's address. Nothing is encapsulated, so every node must reach the others without a router between.
package direct

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"eastwest/internal/dataplane"
	"eastwest/internal/kernel/route"
	"eastwest/internal/table"
)

// Kernel is what the backend needs of routing.
type Kernel interface {
	List(ctx context.Context) ([]route.Route, error)
	Put(ctx context.Context, r route.Route) error
	Delete(ctx context.Context, r route.Route) error
	Forward(ctx context.Context, addresses []netip.Addr) error
}

// Backend is the routes dataplane without encapsulation.
type Backend struct {
	kernel Kernel
	own    []netip.Addr
}

var _ dataplane.Dataplane[table.Route] = (*Backend)(nil)

// New makes a backend for a node with these addresses; it touches nothing before the first Apply.
func New(kernel Kernel, own []netip.Addr) *Backend { return &Backend{kernel: kernel, own: own} }

// Apply makes our routes equal to want, and lets what comes to the node's own addresses take them. Nodes come and go rarely, so that it always compares with the kernel. A route
// that cannot be added does not keep the others from being added.
func (b *Backend) Apply(ctx context.Context, want table.Table[table.Route], _ table.Keys) error {
	have, err := b.kernel.List(ctx)
	if err != nil {
		return fmt.Errorf("apply routes: %w", err)
	}
	present := map[route.Route]bool{}
	for _, r := range have {
		present[r] = true
	}
	wanted := map[route.Route]bool{}
	destinations := map[string]bool{}
	errs := []error{b.kernel.Forward(ctx, b.own)}
	for _, row := range want.All() {
		r := route.Route{Destination: row.Destination, Via: row.Via}
		wanted[r] = true
		destinations[r.Destination.String()] = true
		if present[r] {
			continue
		}
		if err := b.kernel.Put(ctx, r); err != nil {
			errs = append(errs, fmt.Errorf("reach the pods of %s: %w", row.Object, err))
		}
	}
	for _, r := range have {
		if wanted[r] || destinations[r.Destination.String()] {
			continue // a replaced route is gone with its replacement
		}
		errs = append(errs, b.kernel.Delete(ctx, r))
	}
	return errors.Join(errs...)
}

// Remove deletes every route of ours. Forwarding stays on: it may have been before.
func (b *Backend) Remove(ctx context.Context) error {
	return New(b.kernel, nil).Apply(ctx, table.Table[table.Route]{}, table.Keys{All: true})
}

// Dump returns our routes, one a line.
func (b *Backend) Dump(ctx context.Context) (string, error) {
	have, err := b.kernel.List(ctx)
	if err != nil {
		return "", fmt.Errorf("dump routes: %w", err)
	}
	lines := make([]string, len(have))
	for i, r := range have {
		lines[i] = fmt.Sprintf("%s via %s\n", r.Destination, r.Via)
	}
	slices.Sort(lines)
	return strings.Join(lines, ""), nil
}
