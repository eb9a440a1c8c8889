// SPDX-License-Identifier: Apache-2.0

package hostlocal

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// addrRange is a run of addresses of one subnet, both ends included.
type addrRange struct {
	subnet     netip.Prefix
	start, end netip.Addr
	gateway    netip.Addr // never handed out
}

// rangeSet is a list of ranges of one family; an attachment gets one address from each set.
type rangeSet []addrRange

func newRangeSet(spans []span) (rangeSet, error) {
	if len(spans) == 0 {
		return nil, errors.New("empty range set")
	}
	set := make(rangeSet, 0, len(spans))
	for _, s := range spans {
		r, err := newRange(s)
		if err != nil {
			return nil, err
		}
		if len(set) > 0 && set[0].start.Is4() != r.start.Is4() {
			return nil, errors.New("mixed address families")
		}
		if other := slices.IndexFunc(set, r.overlaps); other >= 0 {
			return nil, fmt.Errorf("subnets %s and %s overlap", set[other], r)
		}
		set = append(set, r)
	}
	return set, nil
}

// newRange fills in what a configuration leaves out: the gateway is the subnet's first address, the range all others
// but IPv4's broadcast address.
func newRange(s span) (addrRange, error) {
	r := addrRange{}
	var err error
	if r.subnet, err = subnet(net.IPNet(s.Subnet)); err != nil {
		return r, err
	}
	first := r.subnet.Addr().Next()
	if r.gateway, err = addrOr(s.Gateway, first); err != nil {
		return r, fmt.Errorf("gateway: %w", err)
	}
	if r.start, err = addrOr(s.RangeStart, first); err != nil {
		return r, fmt.Errorf("RangeStart: %w", err)
	}
	if r.end, err = addrOr(s.RangeEnd, lastOf(r.subnet)); err != nil {
		return r, fmt.Errorf("RangeEnd: %w", err)
	}
	if !r.subnet.Contains(r.start) {
		return r, fmt.Errorf("RangeStart %s not in network %s", r.start, r.subnet)
	}
	if !r.subnet.Contains(r.end) || r.end.Less(r.start) {
		return r, fmt.Errorf("RangeEnd %s not in network %s", r.end, r.subnet)
	}
	return r, nil
}

func subnet(n net.IPNet) (netip.Prefix, error) {
	addr, ok := netip.AddrFromSlice(n.IP)
	if !ok {
		return netip.Prefix{}, errors.New("subnet is missing")
	}
	addr = addr.Unmap()
	ones, bits := n.Mask.Size()
	if bits != addr.BitLen() {
		return netip.Prefix{}, fmt.Errorf("subnet %s: address and mask are of different families", n.String())
	}
	p := netip.PrefixFrom(addr, ones)
	// Both errors have the words of the reference plugin.
	if ones > bits-2 {
		return p, fmt.Errorf("Network %s too small to allocate from", p) //nolint:staticcheck // capital letter included
	}
	if p.Masked() != p {
		return p, fmt.Errorf("Network has host bits set. For a subnet mask of length %d the network address is %s", //nolint:staticcheck // the same
			ones, p.Masked().Addr())
	}
	return p, nil
}

func addrOr(ip net.IP, otherwise netip.Addr) (netip.Addr, error) {
	if ip == nil {
		return otherwise, nil
	}
	addr, ok := netip.AddrFromSlice(ip)
	if !ok {
		return addr, fmt.Errorf("IP %s not v4 nor v6", ip)
	}
	return addr.Unmap(), nil
}

func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	last, _ := netip.AddrFromSlice(b)
	if last.Is4() {
		last = last.Prev()
	}
	return last
}

func (r addrRange) contains(a netip.Addr) bool {
	return r.subnet.Contains(a) && !a.Less(r.start) && !r.end.Less(a)
}

func (r addrRange) overlaps(o addrRange) bool {
	return r.start.Is4() == o.start.Is4() && !r.end.Less(o.start) && !o.end.Less(r.start)
}

// String is the range as messages show it: first and last address.
func (r addrRange) String() string { return r.start.String() + "-" + r.end.String() }

// find returns the index of the range that holds an address, or -1.
func (s rangeSet) find(a netip.Addr) int {
	return slices.IndexFunc(s, func(r addrRange) bool { return r.contains(a) })
}

func (s rangeSet) overlaps(o rangeSet) bool {
	return slices.ContainsFunc(s, func(r addrRange) bool { return slices.ContainsFunc(o, r.overlaps) })
}

// String lists the ranges of the set.
func (s rangeSet) String() string {
	out := make([]string, len(s))
	for i, r := range s {
		out[i] = r.String()
	}
	return strings.Join(out, ",")
}
