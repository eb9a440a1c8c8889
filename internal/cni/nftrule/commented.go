// SPDX-License-Identifier: Apache-2.0

package nftrule

import (
	"errors"
	"fmt"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"eastwest/internal/kernel/nft/wire"
)

// RemoveCommented removes those rules of a table's chains whose comment, "" for none, is unwanted. A table or chain that is not there has
// none. It is for what the reference plugins make, a rule or more for each container.
func RemoveCommented(family nftables.TableFamily, table string, unwanted func(comment string) bool, chains ...string) error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	t := &nftables.Table{Name: table, Family: family}
	found := false
	for _, name := range chains {
		chain := &nftables.Chain{Name: name, Table: t}
		rules, err := c.GetRules(t, chain)
		if errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return fmt.Errorf("list rules of nftables table %s, chain %s: %w", table, name, err)
		}
		for _, r := range rules {
			if unwanted(wire.Comment(r.UserData)) {
				found = true
				if err := c.DelRule(&nftables.Rule{Table: t, Chain: chain, Handle: r.Handle}); err != nil {
					return fmt.Errorf("remove rule of nftables table %s: %w", table, err)
				}
			}
		}
	}
	if !found {
		return nil
	}
	if err := c.Flush(); err != nil && !errors.Is(err, unix.ENOENT) { // another DEL was faster
		return fmt.Errorf("remove rules of nftables table %s: %w", table, err)
	}
	return nil
}
