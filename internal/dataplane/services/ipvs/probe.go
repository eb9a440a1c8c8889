// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"context"
	"maps"

	"eastwest/internal/table"
)

// Probe returns a function that writes some rows and takes away nothing of others.
func (b *Backend) Probe(ctx context.Context) (func(context.Context, []table.Service) error, error) {
	b.synced = false
	addresses, have, err := b.look(ctx)
	if err != nil {
		return nil, err
	}
	b.learn(addresses, have)
	if err := b.servers(ctx, addresses, have, newImage()); err != nil {
		return nil, err
	}
	return func(ctx context.Context, rows []table.Service) error {
		wanted := newImage()
		for _, row := range rows {
			if err := b.render.render(row, wanted); err != nil {
				return err
			}
		}
		old := newImage()
		for family, elements := range wanted.elements {
			for at := range elements {
				if v, ok := have.elements[family][at]; ok {
					old.elements[family][at] = v
				}
			}
		}
		for key := range wanted.servers {
			if s, ok := have.servers[key]; ok {
				old.servers[key] = s
			}
		}
		if err := b.write(ctx, old, wanted); err != nil {
			return err
		}
		for family := range wanted.elements {
			maps.Copy(have.elements[family], wanted.elements[family])
		}
		maps.Copy(have.servers, wanted.servers)
		return nil
	}, nil
}
