// SPDX-License-Identifier: Apache-2.0

package masquerade

import (
	"context"
	"fmt"
	"net"

	"eastwest/internal/cni/iptrule"
	"eastwest/internal/cni/plugin"
)

// The iptables backend makes what the reference plugins make: a chain for each container, which POSTROUTING jumps to for
// its address.
//
//	POSTROUTING -s 10.244.1.2/32 -j CNI-0123…
//	CNI-0123…   -d 10.244.1.0/24 -j ACCEPT
//	CNI-0123…   ! -d 224.0.0.0/4 -j MASQUERADE
const (
	natTable    = "nat"
	postrouting = "POSTROUTING"
	chainPrefix = "CNI-"
)

func addChains(ctx context.Context, o plugin.Owner, addrs []net.IPNet) error {
	for _, a := range addrs {
		err := iptrule.Edit(ctx, iptrule.FamilyOf(a.IP), natTable, func(t *iptrule.Table) error {
			fillChain(t, o, a)
			return nil
		})
		if err != nil {
			return fmt.Errorf("masquerade %s: %w", a.IP, err)
		}
	}
	return nil
}

func fillChain(t *iptrule.Table, o plugin.Owner, a net.IPNet) {
	s := subnetOf(a)
	ones, bits := s.mask.Size()
	multicast := "224.0.0.0/4"
	if !s.v4() {
		multicast = "ff00::/8"
	}
	chain, comment := iptrule.ChainName(chainPrefix, o), iptrule.Comment("", o)
	t.EnsureChain(chain)
	t.Append(chain, fmt.Sprintf("-d %s/%d -m comment --comment %s -j ACCEPT", s.ip, ones, comment))
	t.Append(chain, fmt.Sprintf("! -d %s -m comment --comment %s -j MASQUERADE", multicast, comment))
	t.Append(postrouting, fmt.Sprintf("-s %s/%d -m comment --comment %s -j %s", a.IP, bits, comment, chain))
}

func deleteChains(ctx context.Context, o plugin.Owner) error {
	return iptrule.Clean(ctx, natTable, func(t *iptrule.Table) { t.Drop(iptrule.ChainName(chainPrefix, o)) })
}

// sweepChains removes chains of owners that are not alive. A chain is known by its name, which is made from the names in
// the comment: those of other programs are left alone.
func sweepChains(ctx context.Context, alive func(plugin.Owner) bool) error {
	return iptrule.Clean(ctx, natTable, func(t *iptrule.Table) {
		for _, chain := range t.Chains(chainPrefix) {
			for _, rule := range t.Rules(chain) {
				o, ok := iptrule.Owner(rule)
				if ok && chain == iptrule.ChainName(chainPrefix, o) && !alive(o) {
					t.Drop(chain)
					break
				}
			}
		}
	})
}
