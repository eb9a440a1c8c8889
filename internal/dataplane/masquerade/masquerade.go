// SPDX-License-Identifier: Apache-2.0

// Package masquerade gives packets of this node's pods that leave the cluster the node's address as their source,
// because nobody outside knows a way back to a pod. It owns the nftables table eastwest-egress.
package masquerade

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"eastwest/internal/dataplane"
	"eastwest/internal/kernel/nft"
	"eastwest/internal/table"
)

const tableName = "eastwest-egress"

// Kernel is what the backend needs of nftables.
type Kernel interface {
	Run(ctx context.Context, script string) error
	List(ctx context.Context, family nft.Family, table string) (string, error)
}

// Backend is the masquerade dataplane on nftables.
type Backend struct{ kernel Kernel }

var _ dataplane.Dataplane[table.Egress] = (*Backend)(nil)

// New makes a backend; it touches nothing before the first Apply.
func New(kernel Kernel) *Backend { return &Backend{kernel: kernel} }

// Apply writes the table anew when it differs. It changes with the nodes, so that it always compares with the kernel.
func (b *Backend) Apply(ctx context.Context, want table.Table[table.Egress], _ table.Keys) error {
	for _, family := range []nft.Family{nft.IPv4, nft.IPv6} {
		listing, err := b.kernel.List(ctx, family, tableName)
		if err != nil && !errors.Is(err, nft.ErrNotExist) {
			return fmt.Errorf("apply masquerading: %w", err)
		}
		text := render(family, want)
		if strings.Join(strings.Fields(listing), " ") == strings.Join(strings.Fields(text), " ") {
			continue
		}
		script := fmt.Sprintf("add table %[1]s %[2]s\ndelete table %[1]s %[2]s\n%[3]s", family, tableName, text)
		if err := b.kernel.Run(ctx, script); err != nil {
			return fmt.Errorf("apply masquerading: %w", err)
		}
	}
	return nil
}

// render returns the table as nft lists it; nothing when no pod of this node has an address of the family.
func render(family nft.Family, want table.Table[table.Egress]) string {
	var rules strings.Builder
	for _, key := range want.Keys() {
		row, _ := want.Get(key)
		sources := ofFamily(row.Sources, family)
		if len(sources) == 0 {
			continue
		}
		fmt.Fprintf(&rules, "\t\t%[1]s saddr %[2]s %[1]s daddr != %[3]s masquerade fully-random comment %[4]q\n",
			family, expression(sources), expression(append(ofFamily(row.Inside, family), multicast(family))), "pods of "+row.Object.Name)
	}
	if rules.Len() == 0 {
		return ""
	}
	return fmt.Sprintf("table %s %s {\n\tchain postrouting {\n\t\ttype nat hook postrouting priority srcnat; policy accept;\n%s\t}\n}\n",
		family, tableName, rules.String())
}

// multicast never leaves through a translation.
func multicast(family nft.Family) netip.Prefix {
	if family == nft.IPv6 {
		return netip.MustParsePrefix("ff00::/8")
	}
	return netip.MustParsePrefix("224.0.0.0/4")
}

func ofFamily(list []netip.Prefix, family nft.Family) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range list {
		if p.Addr().Is4() == (family == nft.IPv4) {
			out = append(out, p)
		}
	}
	return out
}

// expression writes prefixes as nft does: one alone, several in braces, addresses without length.
func expression(list []netip.Prefix) string {
	texts := make([]string, len(list))
	for i, p := range list {
		texts[i] = p.String()
		if p.IsSingleIP() {
			texts[i] = p.Addr().String()
		}
	}
	if len(texts) == 1 {
		return texts[0]
	}
	return "{ " + strings.Join(texts, ", ") + " }"
}

// Remove deletes the tables.
func (b *Backend) Remove(ctx context.Context) error {
	return b.Apply(ctx, table.Table[table.Egress]{}, table.Keys{All: true})
}

// Dump returns the tables as nft lists them.
func (b *Backend) Dump(ctx context.Context) (string, error) {
	var out strings.Builder
	for _, family := range []nft.Family{nft.IPv4, nft.IPv6} {
		listing, err := b.kernel.List(ctx, family, tableName)
		if err != nil && !errors.Is(err, nft.ErrNotExist) {
			return "", fmt.Errorf("dump masquerading: %w", err)
		}
		out.WriteString(listing)
	}
	return out.String(), nil
}
