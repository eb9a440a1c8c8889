// SPDX-License-Identifier: Apache-2.0

package sourceguard

import (
	"fmt"
	"net"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"eastwest/internal/cni/nftrule"
	"eastwest/internal/cni/nftset"
)

// sourceKey is a concatenation, each part of which is padded to four bytes.
func sourceKey(port string, mac net.HardwareAddr, ip net.IP) []byte {
	key := append(linkKey(port), make([]byte, etherPadded)...)
	copy(key[unix.IFNAMSIZ:], mac)
	return append(key, ip...)
}

const etherPadded = 8

// Registers that hold a concatenation: the link's name fills the first of 16 bytes, and the next takes what follows. On a bridge
// that is the hardware address, with the other address behind it.
const (
	regLink    = unix.NFT_REG_1
	regNext    = unix.NFT_REG_2
	regAddress = unix.NFT_REG32_00 + (unix.IFNAMSIZ+etherPadded)/4
)

// Offsets in headers, in bytes.
const (
	etherSource = 6
	etherType   = 12
	arpSender   = 14 // sender's IPv4 address (RFC 826)
	ndTarget    = 8  // target of a neighbour advertisement, in its ICMPv6 header (RFC 4861, 4.4)
)

// ICMPv6 types of neighbour discovery (RFC 4861).
const (
	routerAdvert   = 134
	neighborAdvert = 136
	redirect       = 137
)

// ensureBridgeTable makes the table for bridges if it is not there; the caller holds the lock:
//
//	table bridge eastwest_source {
//		set ports { port }
//		set from4 { port . hardware address . IPv4 address }
//		set from6 { port . hardware address . IPv6 address }
//		chain prerouting {
//			iifname . ether saddr . ip saddr @from4 accept
//			meta l4proto != icmpv6 iifname . ether saddr . ip6 saddr @from6 accept
//			iifname != @ports accept
//			icmpv6 type { nd-router-advert, nd-redirect } drop
//			icmpv6 type nd-neighbor-advert iifname . ether saddr . target != @from6 drop
//			iifname . ether saddr . ip6 saddr @from6 accept
//			iifname . ether saddr . arp saddr ip @from4 accept
//			drop
//		}
//	}
//
// ARP and neighbour advertisements say whose an address is, router advertisements and redirects where packets go next:
// with them a container would get what is for others. Frames of any other kind, and those with VLAN tags, are dropped.
func ensureBridgeTable() error {
	names, err := nftset.Names(unix.NFPROTO_BRIDGE, TableName)
	if err != nil || len(names) > 0 {
		return err
	}
	c, err := nftables.New()
	if err != nil {
		return fmt.Errorf("open nftables: %w", err)
	}
	t := c.AddTable(&nftables.Table{Name: TableName, Family: nftables.TableFamilyBridge})
	ports := &nftables.Set{Table: t, Name: setPorts, KeyType: nftables.TypeIFName, KeyByteOrder: binaryutil.NativeEndian, HasTimeout: true}
	v4, v6 := sourceSet(t, setV4, nftables.TypeIPAddr), sourceSet(t, setV6, nftables.TypeIP6Addr)
	for _, s := range []*nftables.Set{ports, v4, v6} {
		if err := c.AddSet(s, nil); err != nil {
			return fmt.Errorf("make nftables set %s: %w", s.Name, err)
		}
	}
	priority := nftables.ChainPriority(priorityRaw)
	chain := c.AddChain(&nftables.Chain{
		Name: chainName, Table: t, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookPrerouting, Priority: &priority,
	})
	for _, exprs := range bridgeRules(ports, v4, v6) {
		c.AddRule(&nftables.Rule{Table: t, Chain: chain, Exprs: exprs})
	}
	if err := c.Flush(); err != nil {
		return fmt.Errorf("make nftables table bridge %s: %w", TableName, err)
	}
	return nil
}

func sourceSet(t *nftables.Table, name string, address nftables.SetDatatype) *nftables.Set {
	key := nftables.MustConcatSetType(nftables.TypeIFName, nftables.TypeEtherAddr, address)
	return &nftables.Set{Table: t, Name: name, KeyType: key, Concatenation: true, KeyByteOrder: binaryutil.BigEndian, HasTimeout: true}
}

func bridgeRules(ports, v4, v6 *nftables.Set) [][]expr.Any {
	accept, drop := nftrule.Verdict(expr.VerdictAccept, ""), nftrule.Verdict(expr.VerdictDrop, "")
	const header, transport = expr.PayloadBaseNetworkHeader, expr.PayloadBaseTransportHeader
	f4, f6 := nftrule.V4(), nftrule.V6()
	own6 := nftrule.Rule(source(header, f6.Source, f6.Len), in(v6, false), accept)
	return [][]expr.Any{ // what is most comes first
		nftrule.Rule(ofType(unix.ETH_P_IP), source(header, f4.Source, f4.Len), in(v4, false), accept),
		nftrule.Rule(ofType(unix.ETH_P_IPV6), icmp6(expr.CmpOpNeq), own6),
		{&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: regLink}, &expr.Lookup{SourceRegister: regLink, SetName: ports.Name, SetID: ports.ID, Invert: true}, accept[0]},
		nftrule.Rule(discovery(routerAdvert), drop),
		nftrule.Rule(discovery(redirect), drop),
		nftrule.Rule(discovery(neighborAdvert), source(transport, ndTarget, f6.Len), in(v6, true), drop),
		nftrule.Rule(ofType(unix.ETH_P_IPV6), own6),
		nftrule.Rule(ofType(unix.ETH_P_ARP), source(header, arpSender, f4.Len), in(v4, false), accept),
		nftrule.Rule([]expr.Any{&expr.Counter{}}, drop),
	}
}

// ofType is "ether type": 802.1Q for frames with a tag, whatever is in them.
func ofType(protocol uint16) []expr.Any {
	return []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseLLHeader, Offset: etherType, Len: 2},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(protocol)},
	}
}

func icmp6(op expr.CmpOp) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: op, Register: 1, Data: []byte{unix.IPPROTO_ICMPV6}},
	}
}

// discovery matches messages of neighbour discovery of one kind.
func discovery(kind byte) []expr.Any {
	return nftrule.Rule(ofType(unix.ETH_P_IPV6), icmp6(expr.CmpOpEq), []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{kind}},
	})
}

// source puts "iifname . ether saddr . ADDRESS" into the registers.
func source(base expr.PayloadBase, offset, length uint32) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: regLink},
		&expr.Payload{DestRegister: regNext, Base: expr.PayloadBaseLLHeader, Offset: etherSource, Len: 6},
		&expr.Payload{DestRegister: regAddress, Base: base, Offset: offset, Len: length},
	}
}

func in(s *nftables.Set, not bool) []expr.Any {
	return []expr.Any{&expr.Lookup{SourceRegister: regLink, SetName: s.Name, SetID: s.ID, Invert: not}}
}
