// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"net/netip"

	"eastwest/internal/dns/wire"
)

// locateReverse finds a name below in-addr.arpa or ip6.arpa. A known address is answered wherever it lies; an unknown
// one is missing inside the configured ranges and somebody else's outside of them.
func (z *Zone) locateReverse(rec *records, q *wire.Query) node {
	r, ok := readReverse(q)
	if !ok {
		return node{}
	}
	n := node{addr: r.address()}
	if r.whole() {
		n.back = rec.reverse.get(n.addr.Unmap())
	}
	zone, found := z.reverseZone(n.addr, r.parts)
	switch {
	case n.back.len() > 0:
		n.kind = address
	case !found:
		return node{}
	case r.left > 0 || r.whole():
		n.kind = missing
	case r.parts == zone:
		n.kind = apex
	default:
		n.kind = bare
	}
	if found {
		n.apex = q.Labels - 2 - zone
	}
	return n
}

// reverseZone returns with how many labels below in-addr.arpa or ip6.arpa the zone begins that a (partial) address of
// so many parts lies in. A range that ends inside a label makes several zones: 10.96.0.0/12 is 96.10 to 111.10.
func (z *Zone) reverseZone(addr netip.Addr, parts int) (labels int, found bool) {
	bitsPerLabel := 8
	if addr.Is6() {
		bitsPerLabel = 4
	}
	for _, p := range *z.reverse.Load() {
		labels = (p.Bits() + bitsPerLabel - 1) / bitsPerLabel
		if parts >= labels && p.Contains(addr) {
			return labels, true
		}
	}
	return 0, false
}

// reverseName is what a reverse name says about an address.
type reverseName struct {
	bytes [16]byte // zeros for what is missing
	is4   bool
	parts int // labels that are part of the address
	left  int // labels left of those, which are not
}

func (r *reverseName) whole() bool {
	return r.left == 0 && (r.is4 && r.parts == 4 || !r.is4 && r.parts == 32)
}

func (r *reverseName) address() netip.Addr {
	if r.is4 {
		return netip.AddrFrom4([4]byte(r.bytes[:4]))
	}
	return netip.AddrFrom16(r.bytes)
}

func readReverse(q *wire.Query) (r reverseName, ok bool) {
	if q.Labels < 2 || string(q.Label(q.Labels-1)) != "arpa" {
		return r, false
	}
	below := q.Labels - 2
	switch string(q.Label(below)) {
	case "in-addr":
		r.is4 = true
		for r.parts < min(below, 4) {
			v, ok := octet(q.Label(below - 1 - r.parts))
			if !ok {
				break
			}
			r.bytes[r.parts] = v
			r.parts++
		}
	case "ip6":
		for r.parts < min(below, 32) {
			v, ok := nibble(q.Label(below - 1 - r.parts))
			if !ok {
				break
			}
			r.bytes[r.parts/2] |= v << (4 * (1 - r.parts%2))
			r.parts++
		}
	default:
		return r, false
	}
	r.left = below - r.parts
	return r, true
}

func octet(label []byte) (byte, bool) {
	if len(label) > 3 || len(label) > 1 && label[0] == '0' {
		return 0, false
	}
	v := 0
	for _, c := range label {
		if c < '0' || c > '9' {
			return 0, false
		}
		v = v*10 + int(c-'0')
	}
	return byte(v), v <= 255
}

func nibble(label []byte) (byte, bool) {
	if len(label) != 1 {
		return 0, false
	}
	switch c := label[0]; {
	case c >= '0' && c <= '9':
		return c - '0', true
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10, true
	}
	return 0, false
}

// NamespaceOf returns the namespace of the services that an address is an endpoint of; nothing where there is none, or
// where it is one of services in several.
func (z *Zone) NamespaceOf(a netip.Addr) string {
	rec := z.records.Load()
	if rec == nil {
		return ""
	}
	namespace, back := "", rec.reverse.get(a.Unmap())
	for i := range back.len() {
		p := back.at(i)
		if p.host < 0 || namespace != "" && namespace != p.service.object.Namespace {
			return ""
		}
		namespace = p.service.object.Namespace
	}
	return namespace
}
