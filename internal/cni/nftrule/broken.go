// SPDX-License-Identifier: Apache-2.0

package nftrule

import (
	"fmt"

	"github.com/google/nftables"
)

// DropBroken removes a table that is there and of which a chain has lost rules, so that whoever needs it next makes it again,
// whole. rules says how many each chain has. The caller holds the lock.
func DropBroken(family nftables.TableFamily, name string, rules map[string]int) error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	t := &nftables.Table{Name: name, Family: family}
	broken := false
	for chain, want := range rules {
		have, err := c.GetRules(t, &nftables.Chain{Name: chain, Table: t})
		broken = broken || err != nil || len(have) < want
	}
	if !broken {
		return nil
	}
	c.DelTable(t)
	if err := c.Flush(); err != nil {
		return fmt.Errorf("remove what is left of nftables table %s: %w", name, err)
	}
	return nil
}
