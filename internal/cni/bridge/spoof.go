// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"

	"eastwest/internal/cni/nftset"
	"eastwest/internal/cni/plugin"
	"eastwest/internal/kernel/link"
)

// The key macspoofchk drops what a container sends with another hardware address than its own. The chains are the
// reference plugin's, so that either plugin removes the other's; all rules have the comment macspoofchk-ID:
//
//	table bridge nat
//		chain PREROUTING              iifname veth0123 jump cni-br-iface-ID     (filter, priority -300)
//		chain cni-br-iface-ID         jump cni-br-iface-ID-mac
//		chain cni-br-iface-ID-mac     ether saddr is the container's return; drop
const (
	spoofTable   = "nat"
	spoofBase    = "PREROUTING"
	spoofPrefix  = "cni-br-iface-"
	spoofComment = "macspoofchk-"
)

func spoofID(o plugin.Owner) string { return o.ContainerID + "-" + o.IfName }

// guardMAC lets only frames with a hardware address in from a port.
func guardMAC(port string, mac net.HardwareAddr, o plugin.Owner) error {
	id := spoofID(o)
	return nftset.Locked(func() error {
		if err := dropGuards(func(found, _ string) bool { return found == id }); err != nil {
			return err
		}
		c, err := nftables.New()
		if err != nil {
			return fmt.Errorf("open nftables: %w", err)
		}
		t := c.AddTable(&nftables.Table{Name: spoofTable, Family: nftables.TableFamilyBridge})
		priority := nftables.ChainPriority(-300)
		base := c.AddChain(&nftables.Chain{
			Name: spoofBase, Table: t, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookPrerouting, Priority: &priority,
		})
		iface := c.AddChain(&nftables.Chain{Name: spoofPrefix + id, Table: t})
		address := c.AddChain(&nftables.Chain{Name: spoofPrefix + id + "-mac", Table: t})
		add := func(chain *nftables.Chain, exprs ...expr.Any) {
			c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: exprs, UserData: userdata.AppendString(nil, userdata.TypeComment, spoofComment+id)})
		}
		add(base, &expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: padded(port)},
			&expr.Verdict{Kind: expr.VerdictJump, Chain: iface.Name})
		add(iface, &expr.Verdict{Kind: expr.VerdictJump, Chain: address.Name})
		add(address, &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseLLHeader, Offset: 6, Len: 6}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: mac},
			&expr.Verdict{Kind: expr.VerdictReturn})
		add(address, &expr.Verdict{Kind: expr.VerdictDrop})
		if err := c.Flush(); err != nil {
			return fmt.Errorf("guard hardware address of %s: %w", port, err)
		}
		return nil
	})
}

// guardsMAC reports whether what guardMAC made is there, whole.
func guardsMAC(o plugin.Owner) (bool, error) {
	id := spoofID(o)
	c, err := nftables.New()
	if err != nil {
		return false, fmt.Errorf("open nftables: %w", err)
	}
	t := &nftables.Table{Name: spoofTable, Family: nftables.TableFamilyBridge}
	for chain, want := range map[string]int{spoofBase: 1, spoofPrefix + id: 1, spoofPrefix + id + "-mac": 2} {
		rules, err := c.GetRules(t, &nftables.Chain{Name: chain, Table: t})
		if err != nil {
			return false, fmt.Errorf("list rules of bridges: %w", err)
		}
		have := 0
		for _, r := range rules {
			if comment, _ := userdata.GetString(r.UserData, userdata.TypeComment); strings.TrimRight(comment, "\x00") == spoofComment+id {
				have++
			}
		}
		if have < want {
			return false, nil
		}
	}
	return true, nil
}

func padded(ifName string) []byte {
	b := make([]byte, unix.IFNAMSIZ)
	copy(b, ifName)
	return b
}

// releaseMAC removes what guardMAC made.
func releaseMAC(o plugin.Owner) error {
	id := spoofID(o)
	return nftset.Locked(func() error {
		return dropGuards(func(found, _ string) bool { return found == id })
	})
}

// sweepMACs removes guards of ports that do not exist any more. Guards do not say which network they belong to, but they
// go when their port does.
func sweepMACs(host *link.Handle) error {
	return nftset.Locked(func() error {
		return dropGuards(func(_, port string) bool {
			_, err := host.LinkByName(port)
			return port != "" && link.IsNotFound(err)
		})
	})
}

// dropGuards removes the guards that are unwanted, by their id and the port that the base chain has for them; that is
// empty where a crash of another program left chains alone.
func dropGuards(unwanted func(id, port string) bool) error {
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	chains, err := c.ListChainsOfTableFamily(nftables.TableFamilyBridge)
	if err != nil {
		return fmt.Errorf("list chains of bridges: %w", err)
	}
	chains = slices.DeleteFunc(chains, func(ch *nftables.Chain) bool { return ch.Table.Name != spoofTable })
	ports := map[string]*nftables.Rule{}
	if base := slices.IndexFunc(chains, func(ch *nftables.Chain) bool { return ch.Name == spoofBase }); base >= 0 {
		rules, err := c.GetRules(chains[base].Table, chains[base])
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("list rules of bridges: %w", err)
		}
		for _, r := range rules {
			comment, _ := userdata.GetString(r.UserData, userdata.TypeComment)
			if id, found := strings.CutPrefix(strings.TrimRight(comment, "\x00"), spoofComment); found {
				ports[id] = r
			}
		}
	}
	changes := 0
	var inner []*nftables.Chain // what is jumped to goes after what jumps
	for _, ch := range chains {
		id, ours := strings.CutPrefix(ch.Name, spoofPrefix)
		id, isInner := strings.CutSuffix(id, "-mac")
		if !ours || !unwanted(id, portOf(ports[id])) {
			continue
		}
		if r := ports[id]; r != nil && !isInner {
			if err := c.DelRule(r); err != nil {
				return fmt.Errorf("remove guard of hardware address: %w", err)
			}
		}
		c.FlushChain(ch)
		changes++
		if isInner {
			inner = append(inner, ch)
			continue
		}
		c.DelChain(ch)
	}
	for _, ch := range inner {
		c.DelChain(ch)
	}
	if changes == 0 {
		return nil
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("remove guard of hardware address: %w", err)
	}
	return nil
}

// portOf reads the interface that a rule of the base chain compares with.
func portOf(r *nftables.Rule) string {
	if r == nil {
		return ""
	}
	for _, e := range r.Exprs {
		if cmp, is := e.(*expr.Cmp); is {
			return string(bytes.TrimRight(cmp.Data, "\x00"))
		}
	}
	return ""
}
