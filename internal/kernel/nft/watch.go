// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"context"

	"golang.org/x/sys/unix"

	"eastwest/internal/kernel/transactions"
)

// Watch calls changed soon after another program changed a table of this name, until ctx ends. What this Conn changes does
// not count. When the kernel tells more than can be read, that counts as well.
func (c *Conn) Watch(ctx context.Context, table string, changed func()) error {
	return c.WatchTables(ctx, func(name, _ string) bool { return name == table }, changed)
}

// WatchTables is Watch for all tables that about says yes to. It is asked with the name of the process that made the change
// as well, as the kernel knows it: 15 bytes at most.
func (c *Conn) WatchTables(ctx context.Context, about func(table, process string) bool, changed func()) error {
	var listener *transactions.Listener
	err := c.do(func() (err error) {
		listener, err = transactions.Listen()
		return err
	})
	if err != nil {
		return err
	}
	touched := map[string]bool{}
	return listener.Follow(ctx,
		func(m transactions.Message) {
			if name := TableOf(m); name != "" && !touched[name] {
				touched[name] = true
			}
		},
		func(t transactions.Transaction) {
			for name := range touched {
				if about(name, t.Process) && !c.own.Wrote(t.Port, t.Generation) {
					changed()
					break
				}
			}
			clear(touched)
		},
		changed)
}

// TableOf returns the table that a message is about: messages about tables, chains, rules, sets and elements name it alike.
func TableOf(m transactions.Message) string { return m.Name(unix.NFTA_TABLE_NAME) }

// Ledger returns what knows up to which transaction nobody but this Conn changed a table of this name.
func (c *Conn) Ledger(table string) *transactions.Ledger {
	return transactions.NewLedger(c.netns, &c.own, func(m transactions.Message) bool { return TableOf(m) == table })
}
