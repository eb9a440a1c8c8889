// SPDX-License-Identifier: Apache-2.0

package portmap

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"eastwest/internal/cni/nftrule"
	"eastwest/internal/cni/nftset"
	"eastwest/internal/cni/plugin"
	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// Containers of one bridge answer each other directly, past this host. A connection from one to a host port of another
// would be answered from an address that the client never spoke to, so it is masqueraded, as one from the container
// itself is. For each subnet there is a set of containers and one rule:
//
//	ct status dnat ip saddr 10.88.0.0/16 ip daddr @subnet_10.88.0.0-16 masquerade
const nearPrefix = "subnet_"

func (t table) near(subnet netip.Prefix) nftset.Set {
	return t.set(nearPrefix + strings.ReplaceAll(subnet.Addr().String(), ":", "_") + "-" + strconv.Itoa(subnet.Bits()))
}

// nearEntries is what containers of a bridge have beside entries.
func nearEntries(c *config, addr netip.Prefix, o plugin.Owner) []entry {
	if !c.snat() || len(c.of(addr.Addr())) == 0 {
		return nil
	}
	element := nftset.Element{Key: addr.Addr().AsSlice(), Comment: o.String()}
	return []entry{{set: c.table().near(addr.Masked()), element: element}}
}

// near are the names of those sets that are of subnets of a family.
func near(sets []nftset.Info, v4 bool) []string {
	var out []string
	for _, s := range sets {
		if strings.HasPrefix(s.Name, nearPrefix) && strings.Contains(s.Name, ".") == v4 {
			out = append(out, s.Name)
		}
	}
	return out
}

// ensureNear makes the sets of bridged containers' subnets, with their rules, where they are missing. The caller holds
// the lock, and the table is there.
func (t table) ensureNear(bridged []netip.Prefix) error {
	for _, a := range bridged {
		names, err := t.setNames()
		if err != nil {
			return err
		}
		if slices.Contains(names, t.near(a.Masked()).Name) {
			continue
		}
		if err := t.addNear(a.Masked()); err != nil {
			return fmt.Errorf("make nftables set for %s in table %s: %w", a.Masked(), t.name, err)
		}
	}
	return nil
}

func (t table) addNear(subnet netip.Prefix) error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	b := &builder{conn: c, table: &nftables.Table{Name: t.name, Family: nftables.TableFamilyINet}}
	f := nftrule.FamilyOf(subnet.Addr().Is4())
	mask := netip.PrefixFrom(allOnes(subnet.Addr()), subnet.Bits()).Masked().Addr().AsSlice()
	set := b.set(t.near(subnet).Name, f.Address)
	postrouting := &nftables.Chain{Name: "postrouting", Table: b.table}
	b.rule(postrouting, f.Of(), nftrule.DestinationChanged(), f.AddressIn(f.Source, expr.CmpOpEq, subnet.Addr().AsSlice(), mask),
		f.AddressInSet(f.Dest, set), nftrule.Masquerade())
	if b.err != nil {
		return b.err
	}
	return c.Flush()
}

// allOnes is the address of a family with every bit set.
func allOnes(family netip.Addr) netip.Addr {
	bytes := family.AsSlice()
	for i := range bytes {
		bytes[i] = 0xff
	}
	a, _ := netip.AddrFromSlice(bytes)
	return a
}
