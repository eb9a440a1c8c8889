// SPDX-License-Identifier: Apache-2.0

package sourceguard

import (
	"github.com/google/nftables"
	"golang.org/x/sys/unix"

	"eastwest/internal/cni/nftrule"
	"eastwest/internal/cni/nftset"
)

// DropBroken removes tables that have lost rules, so that the next Add makes them again, whole.
func DropBroken() error {
	return nftset.Locked(func() error {
		for family, rules := range map[byte]int{
			unix.NFPROTO_BRIDGE: len(bridgeRules(new(nftables.Set), new(nftables.Set), new(nftables.Set))),
			unix.NFPROTO_IPV4:   len(routedRules(nftrule.FamilyOf(true), new(nftables.Set))),
			unix.NFPROTO_IPV6:   len(routedRules(nftrule.FamilyOf(false), new(nftables.Set))),
		} {
			names, err := nftset.Names(family, TableName)
			if err == nil && len(names) > 0 {
				err = nftrule.DropBroken(nftables.TableFamily(family), TableName, map[string]int{chainName: rules})
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}
