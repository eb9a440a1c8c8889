// SPDX-License-Identifier: Apache-2.0

package podcidr

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// subnets hands out subnets of one length from one range, the lowest free one first.
type subnets struct {
	within netip.Prefix
	bits   int
	taken  map[netip.Prefix]string // by the name of the node
}

func newSubnets(within netip.Prefix, bits int) (*subnets, error) {
	within = within.Masked()
	if bits < within.Bits() || bits > within.Addr().BitLen() || bits-within.Bits() > 16 {
		return nil, fmt.Errorf("pod CIDRs of length %d do not fit cluster CIDR %s: choose a length from %d to %d",
			bits, within, within.Bits(), min(within.Bits()+16, within.Addr().BitLen()))
	}
	return &subnets{within: within, bits: bits, taken: map[netip.Prefix]string{}}, nil
}

// hold notes that a node has a subnet. It returns the other node that has it already, if one does.
func (s *subnets) hold(subnet netip.Prefix, node string) (other string) {
	if holder, held := s.taken[subnet.Masked()]; held && holder != node {
		return holder
	}
	s.taken[subnet.Masked()] = node
	return ""
}

// next returns the lowest subnet that is free and holds it for the node.
func (s *subnets) next(node string) (netip.Prefix, error) {
	for i := range 1 << (s.bits - s.within.Bits()) {
		subnet := s.nth(i)
		if _, held := s.taken[subnet]; !held {
			s.taken[subnet] = node
			return subnet, nil
		}
	}
	return netip.Prefix{}, fmt.Errorf("cluster CIDR %s has no free subnet of length %d: %d are held by nodes", s.within, s.bits, len(s.taken))
}

// free gives back every subnet of a node.
func (s *subnets) free(node string) {
	for subnet, holder := range s.taken {
		if holder == node {
			delete(s.taken, subnet)
		}
	}
}

// nth returns the subnet with the given index.
func (s *subnets) nth(i int) netip.Prefix {
	bytes := s.within.Addr().As16()
	// The index counts in units of one subnet: it goes, shifted, into the 128 bits of the address.
	shift := s.within.Addr().BitLen() - s.bits
	high, low := binary.BigEndian.Uint64(bytes[:8]), binary.BigEndian.Uint64(bytes[8:])
	if shift >= 64 {
		high += uint64(i) << (shift - 64)
	} else {
		high += uint64(i) >> 1 >> (63 - shift)
		low += uint64(i) << shift
	}
	binary.BigEndian.PutUint64(bytes[:8], high)
	binary.BigEndian.PutUint64(bytes[8:], low)
	addr := netip.AddrFrom16(bytes)
	if s.within.Addr().Is4() {
		addr = addr.Unmap()
	}
	return netip.PrefixFrom(addr, s.bits)
}
