// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"context"

	"eastwest/internal/table"
)

// Probe returns a function that writes the chains of some rows, and their rules in chains that all share into one that
// nothing leads to.
func (b *Backend) Probe(ctx context.Context) (func(context.Context, []table.Service) error, error) {
	b.synced = false
	var have [2]chains
	for i, p := range b.programs {
		var err error
		if have[i], _, err = b.read(ctx, p.family); err != nil {
			return nil, err
		}
	}
	return func(ctx context.Context, rows []table.Service) error {
		for i, p := range b.programs {
			want, shared, r := chains{}, chains{}, p.renderer()
			for _, row := range rows {
				r.render(row, want, shared)
			}
			for at, rules := range shared {
				for _, rule := range rules {
					want.add(at.table, chainTrial, rule)
				}
			}
			for at, rules := range p.head() {
				if _, there := have[i][at]; !there {
					want[at] = rules // rules of rows lead there
				}
			}
			old := chains{}
			for at := range want {
				if rules, there := have[i][at]; there {
					old[at] = rules
				}
			}
			if err := b.restore(ctx, p, writes(old, want, nil, nil, b.config.Batch)); err != nil {
				return err
			}
			for at, rules := range want {
				have[i][at] = rules
			}
		}
		return nil
	}, nil
}
