// SPDX-License-Identifier: Apache-2.0

package sourceguard

import (
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"eastwest/internal/cni/nftrule"
	"eastwest/internal/cni/nftset"
	"eastwest/internal/cni/plugin"
	"eastwest/internal/kernel/sysctl"
)

// Group is the link group of the host's ends that Routed guards.
const Group = 0x6577

// Routed is what a container may send over a link of Group that the host routes to it by.
//
// For IPv4 the kernel asks whether the route back leads to the link (rp_filter, RFC 3704), at no cost, unless "loose" for all
// links overrides "strict" of one. Then, and for IPv6, there is a table; the route back by a rule (fib) costs packets three
// times as much as a set does:
//
//	table ip6 eastwest_source {
//		set from6 { link . address }
//		chain prerouting {
//			iifgroup != 0x6577 accept
//			iifname . ip6 saddr @from6 accept
//			ip6 saddr :: accept
//			ip6 saddr fe80::/10 accept
//			drop
//		}
//	}
//
// Duplicate address detection, DHCP and neighbour discovery come from the exceptions, which are forwarded nowhere.
type Routed struct {
	Owner     plugin.Owner
	Link      string
	Addresses []net.IPNet
}

// Add lets the link send what it may, and nothing else.
func (g Routed) Add() error {
	err := sysctl.Ensure("net/ipv4/conf/"+g.Link+"/rp_filter", "1")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	entries, err := g.entries()
	if err != nil || len(entries) == 0 {
		return err
	}
	return add(g.Link, entries, func() error {
		for _, e := range entries {
			if err := ensureRouted(e.set); err != nil {
				return err
			}
		}
		return nil
	})
}

// Check fails when the guard is not whole.
func (g Routed) Check() error {
	entries, err := g.entries()
	if err != nil {
		return err
	}
	return check(g.Link, entries)
}

func (g Routed) entries() ([]entry, error) {
	loose, err := sysctl.Get("net/ipv4/conf/all/rp_filter")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var out []entry
	for _, a := range g.Addresses {
		set, ip := setOf(unix.NFPROTO_IPV6, setV6), a.IP.To16()
		if v4 := a.IP.To4(); v4 != nil {
			if loose != "2" {
				continue
			}
			set, ip = setOf(unix.NFPROTO_IPV4, setV4), v4
		}
		out = append(out, entry{set, nftset.Element{Key: append(linkKey(g.Link), ip...), Comment: g.Owner.String()}})
	}
	return out, nil
}

// ensureRouted makes the table of a set if it is not there. The caller holds the lock.
func ensureRouted(set nftset.Set) error {
	names, err := nftset.Names(set.Family, TableName)
	if err != nil || len(names) > 0 {
		return err
	}
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	f := nftrule.FamilyOf(set.Family == unix.NFPROTO_IPV4)
	t := c.AddTable(&nftables.Table{Name: TableName, Family: nftables.TableFamily(set.Family)})
	from := &nftables.Set{
		Table: t, Name: set.Name, KeyType: nftables.MustConcatSetType(nftables.TypeIFName, f.Address),
		Concatenation: true, KeyByteOrder: binaryutil.BigEndian, HasTimeout: true, // which elements have for their end
	}
	if err := c.AddSet(from, nil); err != nil {
		return fmt.Errorf("make nftables set %s: %w", set.Name, err)
	}
	priority := nftables.ChainPriority(priorityRaw)
	chain := c.AddChain(&nftables.Chain{
		Name: chainName, Table: t, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookPrerouting, Priority: &priority,
	})
	for _, exprs := range routedRules(f, from) {
		c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: exprs})
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("make nftables table %s: %w", TableName, err)
	}
	return nil
}

func routedRules(f nftrule.Family, from *nftables.Set) [][]expr.Any {
	accept := nftrule.Verdict(expr.VerdictAccept, "")
	rules := [][]expr.Any{
		{
			&expr.Meta{Key: expr.MetaKeyIIFGROUP, Register: 1},
			&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(Group)},
			accept[0],
		},
		nftrule.Rule([]expr.Any{
			&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: regLink},
			&expr.Payload{DestRegister: regNext, Base: expr.PayloadBaseNetworkHeader, Offset: f.Source, Len: f.Len},
		}, in(from, false), accept),
		nftrule.Rule(f.AddressIn(f.Source, expr.CmpOpEq, make([]byte, f.Len), net.CIDRMask(int(f.Len)*8, int(f.Len)*8)), accept),
	}
	if f.Proto == unix.NFPROTO_IPV6 {
		linkLocal := net.ParseIP("fe80::").To16()
		rules = append(rules, nftrule.Rule(f.AddressIn(f.Source, expr.CmpOpEq, linkLocal, net.CIDRMask(10, 128)), accept))
	}
	return append(rules, nftrule.Rule([]expr.Any{&expr.Counter{}}, nftrule.Verdict(expr.VerdictDrop, "")))
}
