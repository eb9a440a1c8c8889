// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"

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

// left is what else is left for another process.
type left struct {
	Counts   []countLeft
	Services [len(families)][]netip.Prefix // virtual addresses that are refused
}

// Written returns the rows that the kernel has, how many rules these are, and what is refused beside them.
func (b *Backend) Written() (table.Table[table.Service], []byte) {
	var l left
	for at, rules := range b.counts {
		l.Counts = append(l.Counts, countLeft{at.family, at.table, rules})
	}
	for i := range b.programs {
		l.Services[i] = b.programs[i].Services
	}
	rest, err := json.Marshal(l)
	if err != nil {
		panic(fmt.Sprintf("names and numbers have no JSON: %v", err))
	}
	return b.last, rest
}

// TakeOver takes what Written returned in another process for what the kernel has.
func (b *Backend) TakeOver(rows table.Table[table.Service], rest []byte) error {
	var l left
	if err := json.Unmarshal(rest, &l); err != nil {
		return fmt.Errorf("read counts of rules: %w", err)
	}
	var programs [len(families)]program
	for i, family := range families {
		if programs[i] = programOf(b.config.Node, family); !slices.Equal(l.Services[i], programs[i].Services) {
			return errors.New("the ranges of services changed")
		}
	}
	b.programs, b.last, b.synced = programs, rows, true
	for _, c := range l.Counts {
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
