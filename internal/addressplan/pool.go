// SPDX-License-Identifier: Apache-2.0

package addressplan

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
)

// Range is a run of addresses of one family, both ends included.
type Range struct{ First, Last netip.Addr }

// ParseRange reads FIRST-LAST, a CIDR or one address.
func ParseRange(text string) (Range, error) {
	if first, last, ok := strings.Cut(text, "-"); ok {
		var r Range
		var err error
		if r.First, err = netip.ParseAddr(strings.TrimSpace(first)); err != nil {
			return Range{}, fmt.Errorf("range %q: %w", text, err)
		}
		if r.Last, err = netip.ParseAddr(strings.TrimSpace(last)); err != nil {
			return Range{}, fmt.Errorf("range %q: %w", text, err)
		}
		if r.First.Is4() != r.Last.Is4() || r.Last.Less(r.First) {
			return Range{}, fmt.Errorf("range %q: the last address must be of the first's family and not before it", text)
		}
		return r, nil
	}
	if address, err := netip.ParseAddr(text); err == nil {
		return Range{address, address}, nil
	}
	prefix, err := netip.ParsePrefix(text)
	if err != nil {
		return Range{}, fmt.Errorf("range %q: expected FIRST-LAST, a CIDR or an address", text)
	}
	return Range{prefix.Masked().Addr(), lastOf(prefix)}, nil
}

// String writes FIRST-LAST.
func (r Range) String() string { return r.First.String() + "-" + r.Last.String() }

// MarshalText implements encoding.TextMarshaler.
func (r Range) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (r *Range) UnmarshalText(text []byte) error {
	var err error
	*r, err = ParseRange(string(text))
	return err
}

// Contains reports whether an address is in the range.
func (r Range) Contains(address netip.Addr) bool {
	return address.IsValid() && r.First.Is4() == address.Is4() && !address.Less(r.First) && !r.Last.Less(address)
}

// Overlaps reports whether two ranges have an address in common.
func (r Range) Overlaps(other Range) bool { return r.Contains(other.First) || other.Contains(r.First) }

// LoadBalancers returns the addresses of a node network that are for load balancers where one machine is the whole
// cluster: 250 at its end, or a quarter of a small network. Its first addresses are the nodes', and the very last is IPv4's
// broadcast. False when the network is too small.
func LoadBalancers(network netip.Prefix) (Range, bool) {
	const most = 250
	bits := network.Addr().BitLen() - network.Bits()
	if bits < 3 {
		return Range{}, false
	}
	if bits > 16 {
		bits = 16 // of a large network, the first 65,536 addresses are enough
	}
	size := uint16(1)<<bits - 1 // all ones for 16
	count := size/4 + 1
	if count > most {
		count = most
	}
	first := offset(network.Masked().Addr(), size-count)
	return Range{first, offset(network.Masked().Addr(), size-1)}, true
}

// offset adds to the last sixteen bits, which must be able to hold the sum.
func offset(address netip.Addr, n uint16) netip.Addr {
	raw := address.AsSlice()
	tail := raw[len(raw)-2:]
	binary.BigEndian.PutUint16(tail, binary.BigEndian.Uint16(tail)+n)
	out, _ := netip.AddrFromSlice(raw)
	return out
}

func lastOf(prefix netip.Prefix) netip.Addr {
	raw := prefix.Masked().Addr().AsSlice()
	for bit := prefix.Bits(); bit < len(raw)*8; bit++ {
		raw[bit/8] |= 1 << (7 - bit%8)
	}
	out, _ := netip.AddrFromSlice(raw)
	return out
}
