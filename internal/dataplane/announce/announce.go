// SPDX-License-Identifier: Apache-2.0

// Package announce makes this node answer on the nodes' network for addresses of load balancers, of which each is announced
// by one node. What the services dataplane does not translate, a port that no Service has, is refused; it owns the nftables
// table eastwest-announce for that. Where the addresses are this machine's own, as IPVS has them, its kernel answers by itself
// and the services dataplane refuses; then the table marks the questions that are to be answered here.
package announce

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"eastwest/internal/dataplane"
	"eastwest/internal/kernel/nft"
	"eastwest/internal/table"
)

const tableName = "eastwest-announce"

// Neighbours is what the backend needs of ARP and neighbour discovery.
type Neighbours interface {
	// List returns what is announced; with all, also what is announced in part.
	List(ctx context.Context, all bool) ([]netip.Addr, error)
	Add(ctx context.Context, address netip.Addr) error
	Delete(ctx context.Context, address netip.Addr) error
}

// Rules is what the backend needs of nftables.
type Rules interface {
	Run(ctx context.Context, script string) error
	List(ctx context.Context, family nft.Family, table string) (string, error)
}

// Backend is the dataplane of announcements.
type Backend struct {
	neighbours Neighbours
	rules      Rules
	own        bool
}

var _ dataplane.Dataplane[table.Announcement] = (*Backend)(nil)

// New makes a backend; it touches nothing before the first Apply.
func New(neighbours Neighbours, rules Rules) *Backend {
	return &Backend{neighbours: neighbours, rules: rules}
}

// ForOwn makes a backend for addresses that are this machine's own, and every other node's.
func ForOwn(neighbours Neighbours, rules Rules) *Backend {
	return &Backend{neighbours: neighbours, rules: rules, own: true}
}

var families = []nft.Family{nft.IPv4, nft.IPv6, nft.ARP}

// Apply makes announcements equal to want: first the rules, so that no address is open in between, and then what is to go,
// so that another node may have it. An address that cannot be announced does not keep the others from it.
func (b *Backend) Apply(ctx context.Context, want table.Table[table.Announcement], _ table.Keys) error {
	wanted := map[netip.Addr]table.Object{}
	for _, row := range want.All() {
		for _, address := range row.Addrs {
			wanted[address] = row.Object
		}
	}
	have, err := b.neighbours.List(ctx, true)
	if err != nil {
		return fmt.Errorf("apply announcements: %w", err)
	}
	now := set(slices.Collect(maps.Keys(wanted)))
	both := set(slices.Concat(have, now))
	if err := b.refuse(ctx, both); err != nil {
		return err
	}
	var errs []error
	for _, address := range have {
		if _, ok := wanted[address]; !ok {
			errs = append(errs, b.neighbours.Delete(ctx, address))
		}
	}
	errs = append(errs, b.add(ctx, wanted))
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("apply announcements: %w", err)
	}
	if slices.Equal(now, both) {
		return nil
	}
	return b.refuse(ctx, now)
}

// set sorts addresses, in place, and drops doubles.
func set(addresses []netip.Addr) []netip.Addr {
	slices.SortFunc(addresses, netip.Addr.Compare)
	return slices.Compact(addresses)
}

func (b *Backend) add(ctx context.Context, wanted map[netip.Addr]table.Object) error {
	whole, err := b.neighbours.List(ctx, false)
	if err != nil {
		return err
	}
	var errs []error
	for address, service := range wanted {
		if slices.Contains(whole, address) {
			continue
		}
		if err := b.neighbours.Add(ctx, address); err != nil {
			errs = append(errs, fmt.Errorf("announce the load balancer of %s: %w", service, err))
		}
	}
	return errors.Join(errs...)
}

// refuse writes the rules, where they differ: what was not translated is refused.
func (b *Backend) refuse(ctx context.Context, addresses []netip.Addr) error {
	for _, family := range families {
		listing, err := b.rules.List(ctx, family, tableName)
		if err != nil && !errors.Is(err, nft.ErrNotExist) {
			return fmt.Errorf("refuse ports that no load balancer has: %w", err)
		}
		text := b.render(family, addresses)
		if strings.Join(strings.Fields(listing), " ") == strings.Join(strings.Fields(text), " ") {
			continue
		}
		script := fmt.Sprintf("add table %[1]s %[2]s\ndelete table %[1]s %[2]s\n%[3]s", family, tableName, text)
		if err := b.rules.Run(ctx, script); err != nil {
			return fmt.Errorf("refuse ports that no load balancer has: %w", err)
		}
	}
	return nil
}

// render returns the table as nft lists it; nothing without addresses of the family.
func (b *Backend) render(family nft.Family, addresses []netip.Addr) string {
	if b.own != (family == nft.ARP) {
		return ""
	}
	var texts []string
	for _, address := range addresses {
		if address.Is4() == (family != nft.IPv6) {
			texts = append(texts, address.String())
		}
	}
	if len(texts) == 0 {
		return ""
	}
	to := texts[0]
	if len(texts) > 1 {
		to = "{ " + strings.Join(texts, ", ") + " }"
	}
	var out strings.Builder
	fmt.Fprintf(&out, "table %s %s {\n", family, tableName)
	if family == nft.ARP {
		out.WriteString("\tchain input {\n\t\ttype filter hook input priority filter - 10; policy accept;\n")
		fmt.Fprintf(&out, "\t\tarp daddr ip %s meta mark set meta mark | 0x00004000\n\t}\n}\n", to)
		return out.String()
	}
	refusal := fmt.Sprintf("\t\t%[1]s daddr %[2]s reject with tcp reset\n\t\t%[1]s daddr %[2]s reject\n\t}\n", family, to)
	// After translation, and before a route is looked for: there is none to anywhere.
	out.WriteString("\tchain prerouting {\n\t\ttype filter hook prerouting priority dstnat + 10; policy accept;\n" + refusal)
	out.WriteString("\n\tchain output {\n\t\ttype filter hook output priority filter; policy accept;\n" + refusal)
	out.WriteString("}\n")
	return out.String()
}

// Remove announces nothing any more.
func (b *Backend) Remove(ctx context.Context) error {
	return b.Apply(ctx, table.Table[table.Announcement]{}, table.Keys{All: true})
}

// Dump returns the announced addresses, one a line, and the rules as nft lists them.
func (b *Backend) Dump(ctx context.Context) (string, error) {
	have, err := b.neighbours.List(ctx, true)
	if err != nil {
		return "", fmt.Errorf("dump announcements: %w", err)
	}
	slices.SortFunc(have, netip.Addr.Compare)
	var out strings.Builder
	for _, address := range have {
		fmt.Fprintf(&out, "announced %s\n", address)
	}
	for _, family := range families {
		listing, err := b.rules.List(ctx, family, tableName)
		if err != nil && !errors.Is(err, nft.ErrNotExist) {
			return "", fmt.Errorf("dump announcements: %w", err)
		}
		out.WriteString(listing)
	}
	return out.String(), nil
}
