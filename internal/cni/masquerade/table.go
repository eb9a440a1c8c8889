// SPDX-License-Identifier: Apache-2.0

package masquerade

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"eastwest/internal/cni/nftrule"
	"eastwest/internal/cni/nftset"
)

// TableName is the name of the table.
const TableName = "eastwest_masquerade"

const (
	chainName = "postrouting"
	setPrefix = "from_"

	// priority is that of source NAT in general; a Service proxy's and portmap's rules concern other connections.
	priority = 100
)

// subnet is what is not masqueraded: the prefix that a container's address has.
type subnet struct {
	ip   net.IP // 4 bytes or 16
	mask net.IPMask
}

func subnetOf(a net.IPNet) subnet {
	mask := a.Mask
	ip := a.IP.Mask(mask)
	if v4 := ip.To4(); v4 != nil {
		ip, mask = v4, mask[len(mask)-net.IPv4len:]
	}
	return subnet{ip: ip, mask: mask}
}

func (s subnet) v4() bool { return len(s.ip) == net.IPv4len }

func (s subnet) key(ip net.IP) []byte {
	if s.v4() {
		return ip.To4()
	}
	return ip.To16()
}

// set is named after the subnet; nft's names have no colon or slash.
func (s subnet) set() nftset.Set {
	ones, _ := s.mask.Size()
	return setOf(setPrefix + strings.ReplaceAll(s.ip.String(), ":", "_") + "-" + strconv.Itoa(ones))
}

func setOf(name string) nftset.Set {
	return nftset.Set{Family: unix.NFPROTO_INET, Table: TableName, Name: name}
}

// setNames lists the sets of containers; none if there is no table.
func setNames() ([]string, error) {
	names, err := nftset.Names(unix.NFPROTO_INET, TableName)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(names, func(name string) bool { return !strings.HasPrefix(name, setPrefix) }), nil
}

// ensure makes the table, and the subnet's set with its rule, where they are missing. The caller holds the lock.
func ensure(s subnet) error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	table := &nftables.Table{Name: TableName, Family: nftables.TableFamilyINet}
	names, err := setNames()
	if err != nil || slices.Contains(names, s.set().Name) {
		return err
	}
	chain := &nftables.Chain{Name: chainName, Table: table}
	if len(names) == 0 { // a table is never there without a set
		chain = addChain(c, c.AddTable(table))
	}
	f := nftrule.FamilyOf(s.v4())
	set := &nftables.Set{Table: table, Name: s.set().Name, KeyType: f.Address}
	if err := c.AddSet(set, nil); err != nil {
		return fmt.Errorf("make nftables set %s: %w", set.Name, err)
	}
	c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: nftrule.Rule(
		f.Of(),
		f.AddressInSet(f.Source, set),
		f.AddressIn(f.Dest, expr.CmpOpNeq, s.ip, s.mask),
		nftrule.Masquerade(),
	)})
	if err := c.Flush(); err != nil {
		return fmt.Errorf("make nftables set %s in table %s: %w", set.Name, TableName, err)
	}
	return nil
}

// addChain makes the chain, whose first rules leave multicast alone: its packets have no answer to translate.
func addChain(c *nftables.Conn, t *nftables.Table) *nftables.Chain {
	p := nftables.ChainPriority(priority)
	chain := c.AddChain(&nftables.Chain{
		Name: chainName, Table: t, Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookPostrouting, Priority: &p,
	})
	v4, v6 := nftrule.V4(), nftrule.V6()
	v6mask := append([]byte{0xff}, make([]byte, 15)...)
	for _, match := range [][]expr.Any{
		nftrule.Rule(v4.Of(), v4.AddressIn(v4.Dest, expr.CmpOpEq, []byte{224, 0, 0, 0}, []byte{240, 0, 0, 0})),
		nftrule.Rule(v6.Of(), v6.AddressIn(v6.Dest, expr.CmpOpEq, v6mask, v6mask)),
	} {
		c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: nftrule.Rule(match, nftrule.Verdict(expr.VerdictReturn, ""))})
	}
	return chain
}
