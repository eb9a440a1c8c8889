// SPDX-License-Identifier: Apache-2.0

// Package nftrule builds the few constant nftables rules of the plugins out of named pieces, each worth one phrase of
// nft(8)'s language, so that a rule reads in Go as it does in `nft list ruleset`.
package nftrule

import (
	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Rule joins pieces into the expressions of one rule.
func Rule(pieces ...[]expr.Any) []expr.Any {
	var all []expr.Any
	for _, p := range pieces {
		all = append(all, p...)
	}
	return all
}

// Family is one of the two IP families with what differs between them.
type Family struct {
	Proto      byte // unix.NFPROTO_…
	Len        uint32
	Source     uint32 // offset of the source address in the header
	Dest       uint32 // offset of the destination address
	Address    nftables.SetDatatype
	afterFirst uint32 // 32-bit register behind an address in register 1
	Name       string // suffix of sets: "4" or "6"
}

// V4 is IPv4.
func V4() Family {
	return Family{Proto: unix.NFPROTO_IPV4, Len: 4, Source: 12, Dest: 16, Address: nftables.TypeIPAddr, afterFirst: reg32 + 1, Name: "4"}
}

// V6 is IPv6.
func V6() Family {
	return Family{Proto: unix.NFPROTO_IPV6, Len: 16, Source: 8, Dest: 24, Address: nftables.TypeIP6Addr, afterFirst: reg32 + 4, Name: "6"}
}

// FamilyOf returns V4 or V6.
func FamilyOf(v4 bool) Family {
	if v4 {
		return V4()
	}
	return V6()
}

// reg32 is NFT_REG32_00: register 1 is made of the four 32-bit registers that start here.
const reg32 = 8

// Of matches packets of the family: "meta nfproto ipv4".
func (f Family) Of() []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{f.Proto}},
	}
}

// AddressIn compares the address at offset with a prefix: "ip daddr 224.0.0.0/4", or "!=" for CmpOpNeq.
func (f Family) AddressIn(offset uint32, op expr.CmpOp, network, mask []byte) []expr.Any {
	return []expr.Any{
		f.load(offset, 1),
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: f.Len, Mask: mask, Xor: make([]byte, f.Len)},
		&expr.Cmp{Op: op, Register: 1, Data: network},
	}
}

func (f Family) load(offset, register uint32) expr.Any {
	return &expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: f.Len}
}

// AddressInSet looks an address up: "ip saddr @set".
func (f Family) AddressInSet(offset uint32, s *nftables.Set) []expr.Any {
	return []expr.Any{f.load(offset, 1), lookup(s)}
}

// PairInSet looks both addresses up: "ip saddr . ip daddr @set".
func (f Family) PairInSet(s *nftables.Set) []expr.Any {
	return []expr.Any{f.load(f.Source, 1), f.load(f.Dest, f.afterFirst), lookup(s)}
}

// ServiceInSet looks the destination up: "ip daddr . meta l4proto . th dport @set".
func (f Family) ServiceInSet(s *nftables.Set) []expr.Any {
	return append(f.loadService(), lookup(s))
}

func (f Family) loadService() []expr.Any {
	return append([]expr.Any{f.load(f.Dest, 1)}, loadPort(f.afterFirst)...)
}

func loadPort(register uint32) []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: register},
		&expr.Payload{DestRegister: register + 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
	}
}

// DNATByService changes the destination to what a map says for address, protocol and port:
// "dnat ip to ip daddr . meta l4proto . th dport map @m".
func (f Family) DNATByService(m *nftables.Set) []expr.Any {
	return append(f.loadService(), f.dnat(m)...)
}

// DNATByPort is the same for protocol and port: "dnat ip to meta l4proto . th dport map @m".
func (f Family) DNATByPort(m *nftables.Set) []expr.Any {
	return append(loadPort(reg32), f.dnat(m)...)
}

func (f Family) dnat(m *nftables.Set) []expr.Any {
	return []expr.Any{
		&expr.Lookup{SourceRegister: 1, DestRegister: 1, IsDestRegSet: true, SetName: m.Name, SetID: m.ID},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: uint32(f.Proto), RegAddrMin: 1, RegProtoMin: f.afterFirst, Specified: true},
	}
}

func lookup(s *nftables.Set) expr.Any {
	return &expr.Lookup{SourceRegister: 1, SetName: s.Name, SetID: s.ID}
}

// ToThisHost is "fib daddr type local".
func ToThisHost() []expr.Any {
	return []expr.Any{
		&expr.Fib{Register: 1, ResultADDRTYPE: true, FlagDADDR: true},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL)},
	}
}

// DestinationChanged matches connections whose destination was changed: "ct status dnat".
func DestinationChanged() []expr.Any {
	return []expr.Any{
		&expr.Ct{Register: 1, Key: expr.CtKeySTATUS},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(statusDNAT), Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
	}
}

// statusDNAT is IPS_DST_NAT of linux/netfilter/nf_conntrack_common.h.
const statusDNAT = 1 << 5

// NotFromLoopback is `iif != "lo"`; lo has index 1 in every namespace.
func NotFromLoopback() []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyIIF, Register: 1},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(1)},
	}
}

// Masquerade ends a rule with "masquerade".
func Masquerade() []expr.Any { return []expr.Any{&expr.Masq{}} }

// Verdict ends a rule with a verdict; chain is empty but for jump and goto.
func Verdict(kind expr.VerdictKind, chain string) []expr.Any {
	return []expr.Any{&expr.Verdict{Kind: kind, Chain: chain}}
}
