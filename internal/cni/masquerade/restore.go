// SPDX-License-Identifier: Apache-2.0

package masquerade

import (
	"context"
	"net"

	"github.com/google/nftables"

	"eastwest/internal/cni/iptrule"
	"eastwest/internal/cni/nftrule"
	"eastwest/internal/cni/nftset"
	"eastwest/internal/cni/plugin"
)

// multicastRules is how many rules stand in front of those of sets.
const multicastRules = 2

// DropBroken removes the table if it has lost rules, so that the next Add makes it again, whole.
func DropBroken() error {
	return nftset.Locked(func() error {
		names, err := setNames()
		if err != nil || len(names) == 0 {
			return err
		}
		return nftrule.DropBroken(nftables.TableFamilyINet, TableName, map[string]int{chainName: multicastRules + len(names)})
	})
}

// Restore does what Add does if anything of it is missing, and reports whether it was.
func Restore(ctx context.Context, backend string, o plugin.Owner, addrs []net.IPNet) (bool, error) {
	whole, err := there(ctx, backend, o, addrs)
	if err != nil || whole {
		return false, err
	}
	return true, Add(ctx, backend, o, addrs)
}

func there(ctx context.Context, backend string, o plugin.Owner, addrs []net.IPNet) (bool, error) {
	for _, a := range addrs {
		if backend == backendIPTables {
			t, err := iptrule.Read(ctx, iptrule.FamilyOf(a.IP), natTable)
			if err != nil {
				return false, err
			}
			if fillChain(t, o, a); t.Changed() {
				return false, nil
			}
			continue
		}
		s := subnetOf(a)
		have, found, err := nftset.Get(s.set(), s.key(a.IP))
		if err != nil || !found || have.Comment != o.String() {
			return false, err
		}
	}
	return true, nil
}
