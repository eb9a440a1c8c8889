// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"context"
	"errors"
	"maps"

	"eastwest/internal/kernel/nft"
	"eastwest/internal/table"
)

// Probe returns a function that writes the elements of some rows and takes away none of others'.
func (b *Backend) Probe(ctx context.Context) (func(context.Context, []table.Service) error, error) {
	b.synced = false
	var have [2]map[place]value
	read := func() (err error) {
		for i := range families {
			if have[i], err = b.read(ctx, i); err != nil {
				return err
			}
		}
		return nil
	}
	if err := read(); err != nil {
		return nil, err
	}
	return func(ctx context.Context, rows []table.Service) error {
		var ops []nft.Op
		var wanted [2]map[place]value
		for i, family := range families {
			wanted[i] = map[place]value{}
			var need shape
			for _, row := range rows {
				render(seated(row, inKernel(&have)), table.Service{}, family, wanted[i])
				need.include(row, family)
			}
			if err := b.grow(ctx, i, need); err != nil {
				return err
			}
			old := belonging(have[i], wanted[i])
			clients, err := b.remember(ctx, family, old, wanted[i])
			if err != nil {
				return err
			}
			ops = append(append(ops, diff(family, old, wanted[i])...), clients...)
		}
		if err := b.write(ctx, ops); err != nil {
			return errors.Join(err, read()) // some of several transactions may be there
		}
		for i := range families {
			for p := range belonging(have[i], wanted[i]) {
				delete(have[i], p)
			}
			maps.Copy(have[i], wanted[i])
		}
		return nil
	}, nil
}

// belonging returns what the kernel has of some frontends: where their elements are, and in slots that they no longer need.
func belonging(have, want map[place]value) map[place]value {
	out := map[place]value{}
	for p := range want {
		if v, ok := have[p]; ok {
			out[p] = v
		}
		m := frontendMapOf(p.set)
		if m == nil {
			continue
		}
		for slot := uint32(0); ; slot++ {
			at := slotPlace(m.group, p.key, slot)
			v, ok := have[at]
			if !ok {
				break
			}
			out[at] = v
		}
	}
	return out
}
