// SPDX-License-Identifier: Apache-2.0

package vxlan

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"eastwest/internal/kernel/nft"
	"eastwest/internal/kernel/vxlan"
	"eastwest/internal/table"
)

// TableName is the nftables table of the guard, in the family of the nodes' addresses.
const TableName = "eastwest-overlay"

func families() []nft.Family { return []nft.Family{nft.IPv4, nft.IPv6} }

func familyOf(a netip.Addr) nft.Family {
	if a.Is6() {
		return nft.IPv6
	}
	return nft.IPv4
}

// guard renders the table as nft lists it. VXLAN has no authentication: without it, any host that reaches this node could
// send packets to pods in the name of other pods. Other VXLAN networks of this node, which have other identifiers, and
// encapsulated packets that are forwarded, are none of its business.
func guard(local netip.Addr, peers []table.Tunnel) string {
	family := familyOf(local)
	ours := fmt.Sprintf("udp dport %d @th,96,24 0x%x", vxlan.Port, vxlan.ID)
	var addresses []netip.Addr
	for _, peer := range peers {
		addresses = append(addresses, peer.Address)
	}
	slices.SortFunc(addresses, netip.Addr.Compare)
	texts := make([]string, 0, len(addresses))
	for _, a := range slices.Compact(addresses) {
		texts = append(texts, a.String())
	}
	accept := ""
	if len(texts) == 1 {
		accept = fmt.Sprintf("%s saddr != %s ", family, texts[0])
	} else if len(texts) > 1 {
		accept = fmt.Sprintf("%s saddr != { %s } ", family, strings.Join(texts, ", "))
	}
	return fmt.Sprintf(`table %s %s {
	chain prerouting {
		type filter hook prerouting priority raw; policy accept;
		%s fib daddr type local notrack
	}
	chain output {
		type filter hook output priority raw; policy accept;
		%s notrack
	}
	chain input {
		type filter hook input priority raw; policy accept;
		%s %sdrop comment "not from a node"
	}
}
`, family, TableName, ours, ours, ours, accept)
}

// applyGuard makes the guard of one family equal to text, which is empty for none, and removes the other's.
func (b *Backend) applyGuard(ctx context.Context, local netip.Addr, text string) error {
	for _, family := range families() {
		want := ""
		if local.IsValid() && family == familyOf(local) {
			want = text
		}
		listing, err := b.rules.List(ctx, family, TableName)
		if err != nil && !errors.Is(err, nft.ErrNotExist) {
			return err
		}
		if strings.Join(strings.Fields(listing), " ") == strings.Join(strings.Fields(want), " ") {
			continue
		}
		script := fmt.Sprintf("add table %[1]s %[2]s\ndelete table %[1]s %[2]s\n%[3]s", family, TableName, want)
		if err := b.rules.Run(ctx, script); err != nil {
			return err
		}
	}
	return nil
}
