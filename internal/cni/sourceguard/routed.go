// SPDX-License-Identifier: Apache-2.0

// Package sourceguard keeps source addresses that are not a container's own from leaving its veth.
//
// Where the host routes to each container (ptp), the route back decides, as RFC 3704 says; see Routed. Where containers
// share a bridge, what a port may send stands in sets; see Bridged.
package sourceguard

import (
	"errors"
	"fmt"
	"os"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"eastwest/internal/cni/nftrule"
	"eastwest/internal/cni/nftset"
	"eastwest/internal/kernel/sysctl"
)

// Group is the link group of the host's ends that Routed guards. It goes with the link, so nothing is left of one.
const Group = 0x6577

// tableName is the name of all tables of this package, one a family.
const tableName = "eastwest_source"

const priorityRaw = -300 // before connection tracking learns of the packet

// Routed drops what comes in by a link from an address that the route back does not lead to. The link is of Group.
//
// IPv4 has a parameter for this, rp_filter, but "loose" for all links overrides "strict" of one. Then, and for IPv6, it is
// one constant rule for all containers:
//
//	table ip6 eastwest_source
//		chain prerouting    iifgroup 0x6577 ip6 saddr != :: fib saddr . iif oif missing drop
func Routed(link string, v4, v6 bool) error {
	if v4 {
		if err := strict(link); err != nil {
			return err
		}
	}
	if v6 {
		return ensureReversePath(nftables.TableFamilyIPv6, nftrule.V6())
	}
	return nil
}

func strict(link string) error {
	err := sysctl.Ensure("net/ipv4/conf/"+link+"/rp_filter", "1")
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	all, err := sysctl.Get("net/ipv4/conf/all/rp_filter")
	if err != nil || all != "2" {
		return err
	}
	return ensureReversePath(nftables.TableFamilyIPv4, nftrule.V4())
}

func ensureReversePath(family nftables.TableFamily, f nftrule.Family) error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	_, err = c.ListTableOfFamily(tableName, family)
	if !errors.Is(err, unix.ENOENT) {
		return err
	}
	return nftset.Locked(func() error {
		if _, err := c.ListTableOfFamily(tableName, family); !errors.Is(err, unix.ENOENT) {
			return err
		}
		t := c.AddTable(&nftables.Table{Name: tableName, Family: family})
		priority := nftables.ChainPriority(priorityRaw)
		chain := c.AddChain(&nftables.Chain{
			Name: "prerouting", Table: t, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookPrerouting, Priority: &priority,
		})
		c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: reversePath(f)})
		if err := c.Flush(); err != nil {
			return fmt.Errorf("guard source addresses by nftables: %w", err)
		}
		return nil
	})
}

// reversePath leaves the unspecified address alone: duplicate address detection and DHCP come from it, and the kernel
// forwards it nowhere.
func reversePath(f nftrule.Family) []expr.Any {
	return nftrule.Rule(
		[]expr.Any{
			&expr.Meta{Key: expr.MetaKeyIIFGROUP, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(Group)},
		},
		f.AddressIn(f.Source, expr.CmpOpNeq, make([]byte, f.Len), ones(f.Len)),
		[]expr.Any{
			&expr.Fib{Register: 1, ResultOIF: true, FlagPRESENT: true, FlagSADDR: true, FlagIIF: true},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: make([]byte, 4)},
			&expr.Counter{},
		},
		nftrule.Verdict(expr.VerdictDrop, ""),
	)
}

func ones(n uint32) []byte {
	mask := make([]byte, n)
	for i := range mask {
		mask[i] = 0xff
	}
	return mask
}
