// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"encoding/binary"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"eastwest/internal/kernel/nfnetlink"
)

// Attributes of include/uapi/linux/netfilter/nfnetlink_conntrack.h that the netlink package has no names for, and what
// nf_conntrack_common.h says of the status.
const (
	ctaStatusMask       = 23
	ctaFilter           = 25
	ctaFilterOrigFlags  = 1
	ctaFilterReplyFlags = 2
	filterIPSrc         = 1 << 0
	filterIPDst         = 1 << 1
	filterProtoNum      = 1 << 3
	filterProtoSrcPort  = 1 << 4
	filterProtoDstPort  = 1 << 5
	statusDNAT          = 1 << 5
)

// filterFor returns the attributes that have the kernel send only the entries of a protocol and route, as far as it can tell.
func filterFor(protocol uint8, translated bool, route Entry) []byte {
	filter := nl.NewRtAttr(unix.NLA_F_NESTED|ctaFilter, nil)
	tuples := like(filter, protocol, route.To, side{
		nl.CTA_TUPLE_ORIG, ctaFilterOrigFlags, nl.CTA_IP_V4_DST, filterIPDst, nl.CTA_PROTO_DST_PORT, filterProtoDstPort,
	})
	if route.Endpoint != (netip.AddrPort{}) {
		tuples = append(tuples, like(filter, protocol, route.Endpoint, side{
			nl.CTA_TUPLE_REPLY, ctaFilterReplyFlags, nl.CTA_IP_V4_SRC, filterIPSrc, nl.CTA_PROTO_SRC_PORT, filterProtoSrcPort,
		})...)
	}
	if translated { // Linux 5.8 does not look at it
		status := binary.BigEndian.AppendUint32(nil, statusDNAT)
		tuples = append(tuples, nl.NewRtAttr(nl.CTA_STATUS, status).Serialize()...)
		tuples = append(tuples, nl.NewRtAttr(ctaStatusMask, status).Serialize()...)
	}
	return append(filter.Serialize(), tuples...)
}

// side says how one side of an entry is named in a filter.
type side struct {
	tuple, flags int
	addr         int
	addrFlag     uint32
	port         int
	portFlag     uint32
}

// like adds to the filter which parts of a tuple it compares, and returns the tuple.
func like(filter *nl.RtAttr, protocol uint8, at netip.AddrPort, s side) []byte {
	flags := uint32(filterProtoNum)
	tuple := nl.NewRtAttr(unix.NLA_F_NESTED|s.tuple, nil)
	// Linux 6.18 still has the comparison of IPv6 addresses the wrong way round, and sends all others.
	if addr := at.Addr(); addr.Is4() && !addr.IsUnspecified() {
		flags |= s.addrFlag
		tuple.AddRtAttr(unix.NLA_F_NESTED|nl.CTA_TUPLE_IP, nil).AddRtAttr(s.addr, addr.AsSlice())
	}
	proto := tuple.AddRtAttr(unix.NLA_F_NESTED|nl.CTA_TUPLE_PROTO, nil)
	proto.AddRtAttr(nl.CTA_PROTO_NUM, nl.Uint8Attr(protocol))
	if at.Port() != 0 {
		flags |= s.portFlag
		proto.AddRtAttr(s.port, binary.BigEndian.AppendUint16(nil, at.Port()))
	}
	filter.AddRtAttr(s.flags, nl.Uint32Attr(flags))
	return tuple.Serialize()
}

// parse reads the attributes of an entry.
func parse(message []byte) (entry Entry, protocol uint8, ok bool) {
	for a := range nfnetlink.Attributes(message) {
		switch a.Kind {
		case nl.CTA_TUPLE_ORIG:
			_, entry.To, protocol = tuple(a.Value)
		case nl.CTA_TUPLE_REPLY:
			entry.Endpoint, _, _ = tuple(a.Value)
		}
	}
	return entry, protocol, entry.To.IsValid() && entry.Endpoint.IsValid()
}

// keyOf returns what names an entry to delete it, and nothing younger that is like it.
func keyOf(message []byte) (key []byte) {
	for a := range nfnetlink.Attributes(message) {
		switch a.Kind {
		case nl.CTA_TUPLE_ORIG, nl.CTA_ID, nl.CTA_ZONE:
			key = append(key, a.Whole...)
		}
	}
	return key
}

// tuple reads who sends to whom in one direction.
func tuple(data []byte) (from, to netip.AddrPort, protocol uint8) {
	var source, target netip.Addr
	var sport, dport uint16
	for part := range nfnetlink.Attributes(data) {
		for a := range nfnetlink.Attributes(part.Value) {
			switch {
			case part.Kind == nl.CTA_TUPLE_IP && (a.Kind == nl.CTA_IP_V4_SRC || a.Kind == nl.CTA_IP_V6_SRC):
				source, _ = netip.AddrFromSlice(a.Value)
			case part.Kind == nl.CTA_TUPLE_IP:
				target, _ = netip.AddrFromSlice(a.Value)
			case part.Kind != nl.CTA_TUPLE_PROTO:
			case a.Kind == nl.CTA_PROTO_NUM && len(a.Value) >= 1:
				protocol = a.Value[0]
			case a.Kind == nl.CTA_PROTO_SRC_PORT && len(a.Value) >= 2:
				sport = binary.BigEndian.Uint16(a.Value)
			case a.Kind == nl.CTA_PROTO_DST_PORT && len(a.Value) >= 2:
				dport = binary.BigEndian.Uint16(a.Value)
			}
		}
	}
	return netip.AddrPortFrom(source, sport), netip.AddrPortFrom(target, dport), protocol
}
