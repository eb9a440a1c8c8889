// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"strings"

	"eastwest/internal/kernel/iptables"
)

// counted is a table of one family.
type counted struct {
	family iptables.Family
	table  string
}

// difference adds to counts how many rules more a has than b, by table.
func difference(counts map[string]int, a, b chains) map[string]int {
	for at, rules := range a {
		counts[at.table] += len(rules)
	}
	for at, rules := range b {
		counts[at.table] -= len(rules)
	}
	return counts
}

// count tells how many rules there are, and how many were written with some inputs.
func (b *Backend) count(family iptables.Family, inputs []string, total func(table string) int) {
	if b.config.Rules == nil {
		return
	}
	written, table := map[string]int{}, ""
	for line := range strings.Lines(strings.Join(inputs, "")) {
		if name, ok := strings.CutPrefix(line, "*"); ok {
			table = strings.TrimSpace(name)
		} else if strings.HasPrefix(line, "-A ") {
			written[table]++
		}
	}
	for _, table := range []string{nat, filter} {
		at := counted{family, table}
		b.counts[at] = total(table)
		b.config.Rules(family, table, b.counts[at], written[table])
	}
}
