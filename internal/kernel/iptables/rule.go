// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"eastwest/internal/kernel/nfnetlink"
)

// rule collects what a rule's expressions say. iptables-save prints options of the packet before everything else, and what
// modules match in the order in which they come.
type rule struct {
	family                           Family
	source, destination, in, out, on string // with a space after them
	modules                          strings.Builder
	target                           string

	protocol uint8
	loaded   load
}

// load is what a register holds.
type load struct {
	kind   uint8 // what of the packet
	key    uint32
	offset uint32
	length uint32
	mask   []byte // nil when all of it counts
}

const (
	nothing uint8 = iota
	ofMeta
	ofNetwork
	ofTransport
)

// ruleOf returns the rule that expressions make, as iptables-save prints it without "-A CHAIN "; ok is false for shapes that are
// not known.
func ruleOf(family Family, expressions []byte) (line string, ok bool) {
	r := rule{family: family}
	for element := range nfnetlink.Attributes(expressions) {
		name, data := expression(element.Value)
		if !r.add(name, data) {
			return "", false
		}
	}
	return strings.TrimSuffix(r.source+r.destination+r.in+r.out+r.on+r.modules.String()+r.target, " "), r.loaded.kind == nothing
}

func expression(element []byte) (name, data []byte) {
	for a := range nfnetlink.Attributes(element) {
		switch a.Kind {
		case unix.NFTA_EXPR_NAME:
			name = cut(a.Value)
		case unix.NFTA_EXPR_DATA:
			data = a.Value
		}
	}
	return name, data
}

func (r *rule) add(name, data []byte) bool {
	switch string(name) {
	case "counter":
		return true
	case "payload":
		return r.payload(fields(data))
	case "meta":
		return r.meta(fields(data))
	case "bitwise":
		return r.bitwise(fields(data))
	case "cmp":
		return r.compare(fields(data))
	case "match":
		return r.match(module(data))
	case "immediate":
		return r.verdict(data)
	case "target":
		return r.act(module(data))
	}
	return false
}

// fields are attributes of an expression by their kinds.
func fields(data []byte) (out [16][]byte) {
	for a := range nfnetlink.Attributes(data) {
		if int(a.Kind) < len(out) {
			out[a.Kind] = a.Value
		}
	}
	return out
}

func (r *rule) payload(f [16][]byte) bool {
	base, _ := number(f[unix.NFTA_PAYLOAD_BASE])
	l := load{}
	l.offset, _ = number(f[unix.NFTA_PAYLOAD_OFFSET])
	l.length, _ = number(f[unix.NFTA_PAYLOAD_LEN])
	switch base {
	case unix.NFT_PAYLOAD_NETWORK_HEADER:
		l.kind = ofNetwork
	case unix.NFT_PAYLOAD_TRANSPORT_HEADER:
		l.kind = ofTransport
	}
	r.loaded = l
	return l.kind != nothing
}

func (r *rule) meta(f [16][]byte) bool {
	key, ok := number(f[unix.NFTA_META_KEY])
	_, reads := number(f[unix.NFTA_META_DREG])
	r.loaded = load{kind: ofMeta, key: key}
	return ok && reads
}

func (r *rule) bitwise(f [16][]byte) bool {
	mask, change := value(f[unix.NFTA_BITWISE_MASK]), value(f[unix.NFTA_BITWISE_XOR])
	r.loaded.mask = mask
	return r.loaded.kind != nothing && len(mask) > 0 && len(bytes.Trim(change, "\x00")) == 0
}

// value returns what NFTA_DATA_VALUE holds in an attribute.
func value(data []byte) []byte {
	for a := range nfnetlink.Attributes(data) {
		if a.Kind == unix.NFTA_DATA_VALUE {
			return a.Value
		}
	}
	return nil
}

func (r *rule) compare(f [16][]byte) bool {
	operation, _ := number(f[unix.NFTA_CMP_OP])
	l, with, not := r.loaded, value(f[unix.NFTA_CMP_DATA]), ""
	r.loaded = load{}
	if operation == unix.NFT_CMP_NEQ {
		not = "! "
	}
	if operation > unix.NFT_CMP_NEQ || len(with) == 0 {
		return false
	}
	switch l.kind {
	case ofMeta:
		return r.metaIs(l, with, not)
	case ofNetwork:
		return r.addressIs(l, with, not)
	case ofTransport:
		return r.portIs(l, with, not)
	}
	return false
}

func (r *rule) metaIs(l load, with []byte, not string) bool {
	switch {
	case l.key == unix.NFT_META_IIFNAME && l.mask == nil:
		r.in = not + "-i " + device(with) + " "
	case l.key == unix.NFT_META_OIFNAME && l.mask == nil:
		r.out = not + "-o " + device(with) + " "
	case l.key == unix.NFT_META_L4PROTO && l.mask == nil && len(with) == 1:
		r.protocol = with[0]
		name := protocolName(r.protocol)
		r.on = not + "-p " + name + " "
		return name != ""
	case l.key == unix.NFT_META_MARK && len(with) == 4:
		r.say("-m mark " + not + "--mark " + hex(with))
		if l.mask != nil {
			r.say("/" + hex(l.mask))
		}
		r.say(" ")
	default:
		return false
	}
	return true
}

func (r *rule) say(words string) { r.modules.WriteString(words) }

func hex(value []byte) string { return fmt.Sprintf("0x%x", binary.NativeEndian.Uint32(value)) }

// device returns a name as it is matched: without the byte that ends it, it is the begin of names.
func device(value []byte) string {
	if name := text(value); len(name) < len(value) {
		return name
	}
	return string(value) + "+"
}

func protocolName(number uint8) string {
	switch number {
	case unix.IPPROTO_TCP:
		return "tcp"
	case unix.IPPROTO_UDP:
		return "udp"
	case unix.IPPROTO_SCTP:
		return "sctp"
	}
	return ""
}

func (r *rule) addressIs(l load, with []byte, not string) bool {
	size, source, destination := uint32(4), uint32(12), uint32(16) // where an IPv4 header has them
	if r.family == IPv6 {
		size, source, destination = 16, 8, 24
	}
	length := 8 * len(with)
	if l.mask != nil {
		ones := 0
		for _, b := range l.mask {
			ones += bits.LeadingZeros8(^b)
		}
		length = ones
	}
	padded := make([]byte, size)
	if l.length > size || len(with) > copy(padded, with) {
		return false
	}
	addr, _ := netip.AddrFromSlice(padded)
	prefix := netip.PrefixFrom(addr, length).String() + " "
	switch l.offset {
	case source:
		r.source = not + "-s " + prefix
	case destination:
		r.destination = not + "-d " + prefix
	default:
		return false
	}
	return true
}

func (r *rule) portIs(l load, with []byte, not string) bool {
	if len(with) != 2 || l.mask != nil || l.offset != 0 && l.offset != 2 || r.protocol == 0 {
		return false
	}
	side := "--sport "
	if l.offset == 2 {
		side = "--dport "
	}
	r.say("-m " + protocolName(r.protocol) + " " + not + side + strconv.Itoa(int(binary.BigEndian.Uint16(with))) + " ")
	return true
}

// verdict reads the end of a rule that leads to a chain or decides.
func (r *rule) verdict(data []byte) bool {
	code, chain, ok := verdictOf(data)
	switch {
	case !ok:
		return false
	case code == unix.NFT_JUMP:
		r.target = "-j " + chain
	case code == unix.NFT_RETURN:
		r.target = "-j RETURN"
	case code == accept:
		r.target = "-j ACCEPT"
	case code == drop:
		r.target = "-j DROP"
	default:
		return false
	}
	return true
}

const (
	drop   = 0 // NF_DROP
	accept = 1 // NF_ACCEPT
)

func verdictOf(data []byte) (code int32, chain string, ok bool) {
	for verdict := range nfnetlink.Attributes(fields(data)[unix.NFTA_IMMEDIATE_DATA]) {
		if verdict.Kind != unix.NFTA_DATA_VERDICT {
			continue
		}
		for a := range nfnetlink.Attributes(verdict.Value) {
			switch a.Kind {
			case unix.NFTA_VERDICT_CODE:
				n, is := number(a.Value)
				code, ok = int32(n), is
			case unix.NFTA_VERDICT_CHAIN:
				chain = text(a.Value)
			}
		}
	}
	return code, chain, ok
}

// jumpOf returns the chain that a rule leads to.
func jumpOf(expressions []byte) string {
	for element := range nfnetlink.Attributes(expressions) {
		if name, data := expression(element.Value); string(name) == "immediate" {
			if code, chain, ok := verdictOf(data); ok && code == unix.NFT_JUMP {
				return chain
			}
		}
	}
	return ""
}
