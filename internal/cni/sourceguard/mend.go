// SPDX-License-Identifier: Apache-2.0

package sourceguard

import (
	"fmt"

	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"eastwest/internal/cni/nftrule"
	"eastwest/internal/cni/nftset"
)

// DropBroken removes tables that have lost rules, so that the next Add makes them again, whole.
func DropBroken() error {
	return nftset.Locked(func() error {
		c, err := nftables.New()
		if err != nil {
			return fmt.Errorf("open nftables: %w", err)
		}
		broken := false
		for family, rules := range map[byte]int{
			unix.NFPROTO_BRIDGE: len(bridgeRules(new(nftables.Set), new(nftables.Set), new(nftables.Set))),
			unix.NFPROTO_IPV4:   len(routedRules(nftrule.FamilyOf(true), new(nftables.Set))),
			unix.NFPROTO_IPV6:   len(routedRules(nftrule.FamilyOf(false), new(nftables.Set))),
		} {
			names, err := nftset.Names(family, TableName)
			if err != nil {
				return err
			}
			if len(names) == 0 {
				continue
			}
			t := &nftables.Table{Name: TableName, Family: nftables.TableFamily(family)}
			have, err := c.GetRules(t, &nftables.Chain{Name: chainName, Table: t})
			if err == nil && len(have) == rules {
				continue
			}
			c.DelTable(t)
			broken = true
		}
		if !broken {
			return nil
		}
		if err := c.Flush(); err != nil {
			return fmt.Errorf("remove what is left of nftables tables %s: %w", TableName, err)
		}
		return nil
	})
}
