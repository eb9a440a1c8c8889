// SPDX-License-Identifier: Apache-2.0

package services

import (
	"encoding/binary"
	"net/netip"
)

// band is one range of addresses, split into a static band at its start and a dynamic band behind it. Its cursors
// remember the lowest address of each band that may be free, so that a search costs what was taken since, not the size
// of the range.
type band struct {
	ready       bool
	first, last netip.Addr // usable: without the network's address and, in IPv4, without the broadcast address
	dynamic     netip.Addr // the first of the dynamic band
	cursor      [2]netip.Addr
}

// newBand makes the bands of a range. The static band holds a sixteenth of the addresses, at least 16 and at most 256;
// a range too small for that has no static band (Kubernetes enhancement 3070).
func newBand(prefix netip.Prefix) *band {
	prefix = prefix.Masked()
	b := &band{first: prefix.Addr().Next(), last: lastOf(prefix)}
	if prefix.Addr().Is4() && prefix.Bits() < 31 {
		b.last = b.last.Prev()
	}
	b.dynamic = add(b.first, staticSize(prefix))
	b.reset()
	return b
}

func (b *band) reset() { b.cursor = [2]netip.Addr{b.dynamic, b.first} }

func staticSize(prefix netip.Prefix) uint64 {
	hostBits := prefix.Addr().BitLen() - prefix.Bits()
	if hostBits >= 16 {
		return 256
	}
	size := uint64(1) << hostBits
	if size <= 16 {
		return 0
	}
	return min(max(16, size/16), 256)
}

// usable reports whether an address of the range may be given to a Service.
func (b *band) usable(addr netip.Addr) bool { return !addr.Less(b.first) && !b.last.Less(addr) }

// lowest returns the lowest address of one band that is not taken, or the zero address.
func (b *band) lowest(static bool, taken map[netip.Addr]struct{}) netip.Addr {
	cursor, end := &b.cursor[0], b.last
	if static {
		cursor, end = &b.cursor[1], b.dynamic.Prev()
	}
	for ; cursor.IsValid() && !end.Less(*cursor); *cursor = cursor.Next() {
		if _, used := taken[*cursor]; !used {
			return *cursor
		}
	}
	return netip.Addr{}
}

// freed moves the cursors back to an address that is free again.
func (b *band) freed(addr netip.Addr) {
	if !b.usable(addr) {
		return
	}
	cursor := &b.cursor[0]
	if addr.Less(b.dynamic) {
		cursor = &b.cursor[1]
	}
	if !cursor.IsValid() || addr.Less(*cursor) {
		*cursor = addr
	}
}

func lastOf(prefix netip.Prefix) netip.Addr {
	bytes := prefix.Addr().AsSlice()
	for bit := prefix.Bits(); bit < len(bytes)*8; bit++ {
		bytes[bit/8] |= 1 << (7 - bit%8)
	}
	addr, _ := netip.AddrFromSlice(bytes)
	return addr
}

// add returns the address n after addr, for n far smaller than a range of 64 bits.
func add(addr netip.Addr, n uint64) netip.Addr {
	bytes := addr.As16()
	low := binary.BigEndian.Uint64(bytes[8:])
	binary.BigEndian.PutUint64(bytes[8:], low+n)
	sum := netip.AddrFrom16(bytes)
	if addr.Is4() {
		return sum.Unmap()
	}
	return sum
}
