// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// extension is a match or a target that nftables takes from iptables: a name, a revision, and a structure of
// include/uapi/linux/netfilter/xt_NAME.h.
type extension struct {
	name     string // and revision
	settings settings
}

func module(data []byte) extension {
	f := fields(data) // matches and targets have the same attributes
	revision, _ := number(f[unix.NFTA_MATCH_REV])
	return extension{text(f[unix.NFTA_MATCH_NAME]) + " " + strconv.Itoa(int(revision)), f[unix.NFTA_MATCH_INFO]}
}

// settings is such a structure. What is read beyond its end is 0.
type settings []byte

func (s settings) at(offset, length int) []byte {
	out := make([]byte, length)
	if offset < len(s) {
		copy(out, s[offset:])
	}
	return out
}

func (s settings) u8(offset int) uint8   { return s.at(offset, 1)[0] }
func (s settings) u16(offset int) uint16 { return binary.NativeEndian.Uint16(s.at(offset, 2)) }
func (s settings) u32(offset int) uint32 { return binary.NativeEndian.Uint32(s.at(offset, 4)) }

// match says what a module matches.
func (r *rule) match(e extension) bool {
	words, ok := "", false
	switch e.name {
	case "comment 0":
		words, ok = "-m comment --comment "+quoted(text(e.settings)), true
	case "tcp 0":
		words, ok = ports("tcp", e.settings, 0, 4, e.settings.u32(8) == 0)
	case "udp 0":
		words, ok = ports("udp", e.settings, 0, 4, e.settings.u8(8) == 0)
	case "sctp 0":
		words, ok = sctp(e.settings)
	case "addrtype 1":
		words, ok = addressType(e.settings)
	case "conntrack 3":
		words, ok = state(e.settings)
	case "statistic 0":
		words, ok = chance(e.settings)
	case "recent 1":
		words, ok = r.recent(e.settings)
	case "socket 1", "socket 2", "socket 3":
		words, ok = "-m socket", e.settings.u8(0) == 0
	}
	r.say(words + " ")
	return ok
}

// quoted quotes where iptables-save does.
func quoted(note string) string {
	plain := note != ""
	for _, c := range []byte(note) {
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		plain = plain && (letter || c >= '0' && c <= '9' || c == '_' || c == '-')
	}
	if plain {
		return note
	}
	return `"` + escaped.Replace(note) + `"`
}

var escaped = strings.NewReplacer(`\`, `\\`, `"`, `\"`, `'`, `\'`)

// ports says which ports of a protocol; plain is false when something else is set.
func ports(protocol string, s settings, sources, destinations int, plain bool) (string, bool) {
	words := "-m " + protocol
	for _, side := range []struct {
		option string
		at     int
	}{{" --sport ", sources}, {" --dport ", destinations}} {
		first, last := s.u16(side.at), s.u16(side.at+2)
		switch {
		case first == last:
			words += side.option + strconv.Itoa(int(first))
		case first != 0 || last != math.MaxUint16:
			words += fmt.Sprint(side.option, first, ":", last)
		}
	}
	return words, plain
}

// sctp knows ports alone.
func sctp(s settings) (string, bool) {
	const source, destination, flags = 1, 2, 284 // XT_SCTP_SRC_PORTS, XT_SCTP_DEST_PORTS; behind the chunks
	set, not := s.u32(flags), s.u32(flags+4)
	words := "-m sctp"
	if set&source != 0 {
		words += " --sport " + strconv.Itoa(int(s.u16(4)))
	}
	if set&destination != 0 {
		words += " --dport " + strconv.Itoa(int(s.u16(0)))
	}
	single := (set&source == 0 || s.u16(4) == s.u16(6)) && (set&destination == 0 || s.u16(0) == s.u16(2))
	return words, single && not == 0 && set&^(source|destination) == 0
}

func addressType(s settings) (string, bool) {
	const local = 1 << unix.RTN_LOCAL
	source, destination, flags := s.u16(0), s.u16(2), s.u32(4)
	switch {
	case flags != 0:
	case source == local && destination == 0:
		return "-m addrtype --src-type LOCAL", true
	case source == 0 && destination == local:
		return "-m addrtype --dst-type LOCAL", true
	}
	return "", false
}

func state(s settings) (string, bool) {
	const flags, inverted, mask, states = 146, 148, 150, 1 // XT_CONNTRACK_STATE alone
	var names []string
	left := s.u16(mask)
	for _, one := range []struct {
		bit  uint16
		name string
	}{{1, "INVALID"}, {8, "NEW"}, {4, "RELATED"}, {2, "ESTABLISHED"}} {
		if left&one.bit != 0 {
			names = append(names, one.name)
			left &^= one.bit
		}
	}
	return "-m conntrack --ctstate " + strings.Join(names, ","), s.u16(flags) == states && s.u16(inverted) == 0 && left == 0
}

func chance(s settings) (string, bool) {
	const random, whole = 0, 1 << 31
	return fmt.Sprintf("-m statistic --mode random --probability %.11f", float64(s.u32(4))/whole), s.u16(0) == random && s.u16(2) == 0
}

// recent knows lists of clients that are asked or added to.
func (r *rule) recent(s settings) (string, bool) {
	const check, set, reap = 1, 2, 32
	const hits, how, not, name, side, mask = 4, 8, 9, 10, 210, 212
	words := "-m recent"
	switch s.u8(how) {
	case set:
		words += " --set"
	case check | reap:
		words += fmt.Sprintf(" --rcheck --seconds %d --reap", s.u32(0))
	default:
		return "", false
	}
	length := 4
	if r.family == IPv6 {
		length = 16
	}
	only, _ := netip.AddrFromSlice(s.at(mask, length))
	words += fmt.Sprintf(" --name %s --mask %s --rsource", text(s.at(name, 200)), only)
	return words, s.u32(hits) == 0 && s.u8(not) == 0 && s.u8(side) == 0
}

// act says what a target does.
func (r *rule) act(e extension) bool {
	ok := false
	switch e.name {
	case "MARK 2":
		r.target, ok = fmt.Sprintf("-j MARK --set-xmark 0x%x/0x%x", e.settings.u32(0), e.settings.u32(4)), true
	case "CT 1", "CT 2":
		const untracked = 1
		r.target, ok = "-j CT --notrack", e.settings.u16(0) == untracked && e.settings.u16(2) == 0
	case "MASQUERADE 0":
		r.target, ok = r.masquerade(e.settings)
	case "DNAT 2":
		r.target, ok = r.translate(e.settings)
	case "REJECT 0":
		var how string
		how, ok = refusal(r.family, e.settings.u32(0))
		r.target = "-j REJECT --reject-with " + how
	}
	return ok
}

// Flags of a range of translation, linux/netfilter/nf_nat.h.
const (
	toAddress   = 1
	toPort      = 2
	fullyRandom = 16
)

func (r *rule) masquerade(s settings) (string, bool) {
	flags := s.u32(4) // behind the count of ranges
	if r.family == IPv6 {
		flags = s.u32(0)
	}
	switch flags {
	case 0:
		return "-j MASQUERADE", true
	case fullyRandom:
		return "-j MASQUERADE --random-fully", true
	}
	return "", false
}

func (r *rule) translate(s settings) (string, bool) {
	const first, last, length = 4, 20, 16
	size := 4
	if r.family == IPv6 {
		size = length
	}
	from, _ := netip.AddrFromSlice(s.at(first, size))
	to, _ := netip.AddrFromSlice(s.at(last, size))
	port, end := binary.BigEndian.Uint16(s.at(36, 2)), binary.BigEndian.Uint16(s.at(38, 2))
	return "-j DNAT --to-destination " + netip.AddrPortFrom(from, port).String(), s.u32(0) == toAddress|toPort && from == to && port == end
}

func refusal(family Family, how uint32) (string, bool) {
	names := map[uint32]string{3: "icmp-port-unreachable", 7: "tcp-reset"} // enum ipt_reject_with
	if family == IPv6 {
		names = map[uint32]string{4: "icmp6-port-unreachable", 6: "tcp-reset"}
	}
	name, ok := names[how]
	return name, ok
}
