// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"encoding/json"
	"fmt"

	"eastwest/internal/kernel/iptables"
	"eastwest/internal/kernel/transactions"
	"eastwest/internal/table"
)

// countLeft is how many rules a table has, as another process reads it.
type countLeft struct {
	Family iptables.Family
	Table  string
	Rules  int
}

// Written returns the rows that the kernel has, and how many rules these are.
func (b *Backend) Written() (table.Table[table.Service], []byte) {
	left := []countLeft{}
	for at, rules := range b.counts {
		left = append(left, countLeft{at.family, at.table, rules})
	}
	rest, err := json.Marshal(left)
	if err != nil {
		panic(fmt.Sprintf("names and numbers have no JSON: %v", err))
	}
	return b.last, rest
}

// TakeOver takes what Written returned in another process for what the kernel has.
func (b *Backend) TakeOver(rows table.Table[table.Service], rest []byte) error {
	var left []countLeft
	if err := json.Unmarshal(rest, &left); err != nil {
		return fmt.Errorf("read counts of rules: %w", err)
	}
	b.last, b.synced = rows, true
	for _, c := range left {
		b.counts[counted{c.Family, c.Table}] = c.Rules
		if b.config.Rules != nil {
			b.config.Rules(c.Family, c.Table, c.Rules, 0)
		}
	}
	return nil
}

// Same reports whether a row as it was written is what a row asks for.
func (b *Backend) Same(written, row table.Service) bool { return written.Equal(row) }

// Ledger returns what knows up to which transaction nobody else changed what a backend writes with a connection.
func Ledger(kernel *iptables.Conn) *transactions.Ledger {
	return kernel.Ledger([]string{raw, nat, filter}, ours)
}
