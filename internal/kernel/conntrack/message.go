// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"encoding/binary"
	"iter"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Attributes of include/uapi/linux/netfilter/nfnetlink_conntrack.h that the netlink package has no names for.
const (
	ctaFilter          = 25
	ctaFilterOrigFlags = 1
	filterIPDst        = 1 << 1
	filterProtoNum     = 1 << 3
	filterProtoDstPort = 1 << 5
	headerBytes        = 4 // struct nfgenmsg
)

// filterFor asks the kernel to send only the entries of a protocol to a place, as far as it can tell.
func filterFor(protocol uint8, to netip.AddrPort) []*nl.RtAttr {
	flags := uint32(filterProtoNum)
	like := nl.NewRtAttr(unix.NLA_F_NESTED|nl.CTA_TUPLE_ORIG, nil)
	// Linux 6.18 still has the comparison of IPv6 addresses the wrong way round, and sends all others.
	if addr := to.Addr(); addr.Is4() && !addr.IsUnspecified() {
		flags |= filterIPDst
		like.AddRtAttr(unix.NLA_F_NESTED|nl.CTA_TUPLE_IP, nil).AddRtAttr(nl.CTA_IP_V4_DST, addr.AsSlice())
	}
	proto := like.AddRtAttr(unix.NLA_F_NESTED|nl.CTA_TUPLE_PROTO, nil)
	proto.AddRtAttr(nl.CTA_PROTO_NUM, nl.Uint8Attr(protocol))
	if to.Port() != 0 {
		flags |= filterProtoDstPort
		proto.AddRtAttr(nl.CTA_PROTO_DST_PORT, binary.BigEndian.AppendUint16(nil, to.Port()))
	}
	filter := nl.NewRtAttr(unix.NLA_F_NESTED|ctaFilter, nil)
	filter.AddRtAttr(ctaFilterOrigFlags, nl.Uint32Attr(flags))
	return []*nl.RtAttr{filter, like}
}

// parse reads a message; key is what names the entry to delete it, and nothing younger that is like it.
func parse(message []byte) (entry Entry, protocol uint8, key []byte, ok bool) {
	if len(message) < headerBytes {
		return entry, 0, nil, false
	}
	for a := range attributes(message[headerBytes:]) {
		switch a.kind {
		case nl.CTA_TUPLE_ORIG:
			_, entry.To, protocol = tuple(a.value)
			key = append(key, a.whole...)
		case nl.CTA_TUPLE_REPLY:
			entry.Endpoint, _, _ = tuple(a.value)
		case nl.CTA_ID, nl.CTA_ZONE:
			key = append(key, a.whole...)
		}
	}
	return entry, protocol, key, entry.To.IsValid() && entry.Endpoint.IsValid()
}

// tuple reads who sends to whom in one direction.
func tuple(data []byte) (from, to netip.AddrPort, protocol uint8) {
	var source, target netip.Addr
	var sport, dport uint16
	for part := range attributes(data) {
		for a := range attributes(part.value) {
			switch {
			case part.kind == nl.CTA_TUPLE_IP && (a.kind == nl.CTA_IP_V4_SRC || a.kind == nl.CTA_IP_V6_SRC):
				source, _ = netip.AddrFromSlice(a.value)
			case part.kind == nl.CTA_TUPLE_IP:
				target, _ = netip.AddrFromSlice(a.value)
			case part.kind != nl.CTA_TUPLE_PROTO:
			case a.kind == nl.CTA_PROTO_NUM && len(a.value) >= 1:
				protocol = a.value[0]
			case a.kind == nl.CTA_PROTO_SRC_PORT && len(a.value) >= 2:
				sport = binary.BigEndian.Uint16(a.value)
			case a.kind == nl.CTA_PROTO_DST_PORT && len(a.value) >= 2:
				dport = binary.BigEndian.Uint16(a.value)
			}
		}
	}
	return netip.AddrPortFrom(source, sport), netip.AddrPortFrom(target, dport), protocol
}

type attribute struct {
	kind         uint16
	value, whole []byte // whole has the header and the padding
}

// attributes yields what is well formed, and ends where it is not.
func attributes(data []byte) iter.Seq[attribute] {
	const header = 4
	return func(yield func(attribute) bool) {
		for len(data) >= header {
			length := int(binary.NativeEndian.Uint16(data))
			padded := min((length+3)&^3, len(data))
			if length < header || length > len(data) {
				return
			}
			kind := binary.NativeEndian.Uint16(data[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
			if !yield(attribute{kind, data[header:length], data[:padded]}) {
				return
			}
			data = data[padded:]
		}
	}
}
