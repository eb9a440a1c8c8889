// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"net/netip"
	"slices"

	"eastwest/internal/dataplane"
	"eastwest/internal/table"
)

// packet is the first one of a connection.
type packet struct {
	from     netip.Addr // none of the node itself
	pod      bool       // from is a pod's
	to       netip.AddrPort
	protocol table.Protocol
}

// fate is what becomes of a packet.
type fate struct {
	action     table.Action
	endpoints  []netip.AddrPort
	masquerade func(endpoint netip.AddrPort) bool
}

// services is a table, ready for questions about a node.
type services struct {
	rows      table.Table[table.Service]
	frontends map[spot][]owned
	addresses map[netip.Addr]bool // virtual ones
	elsewhere map[netip.Addr]bool // those of another proxy
	node      dataplane.Node
	own       map[netip.Addr]bool // the node's, which serve node ports
}

// spot is where clients send to; of a node port the address is unspecified.
type spot struct {
	at       netip.AddrPort
	protocol table.Protocol
}

type owned struct {
	table.Frontend
	service table.Service
}

func newServices(rows table.Table[table.Service], node dataplane.Node, own ...string) *services {
	s := &services{rows: rows, frontends: map[spot][]owned{}, addresses: map[netip.Addr]bool{}, elsewhere: map[netip.Addr]bool{}, node: node, own: map[netip.Addr]bool{}}
	for _, row := range rows.All() {
		for _, f := range row.Frontends {
			at := spot{netip.AddrPortFrom(f.Addr, f.Port), f.Protocol}
			s.frontends[at] = append(s.frontends[at], owned{f, row})
		}
		for _, addr := range row.Elsewhere {
			s.elsewhere[addr] = true
		}
		for _, addr := range row.Addresses {
			s.addresses[addr] = true
		}
	}
	for _, addr := range own {
		s.own[netip.MustParseAddr(addr)] = true
	}
	return s
}

// of says what the table says of a packet, and nothing of how a backend does it; false when no service has it.
func (s *services) of(p packet) (fate, bool) {
	list := s.frontends[spot{p.to, p.protocol}]
	if list == nil && s.own[p.to.Addr()] {
		anywhere := netip.IPv4Unspecified()
		if p.to.Addr().Is6() {
			anywhere = netip.IPv6Unspecified()
		}
		list = s.frontends[spot{netip.AddrPortFrom(anywhere, p.to.Port()), p.protocol}]
	}
	seen := func(view table.View) int { return slices.IndexFunc(list, func(f owned) bool { return f.View == view }) }
	at := seen(table.Everyone)
	told := s.node.Local.Known() // pods from others
	if outside := seen(table.Outside); outside >= 0 && p.from.IsValid() && (!p.pod || !told) {
		at = outside
	}
	if at >= 0 {
		return list[at].fate(p, told), true
	}
	virtual := s.addresses[p.to.Addr()] || !s.elsewhere[p.to.Addr()] && s.node.ServiceCIDRs.Contains(p.to.Addr())
	return fate{action: table.Reject}, virtual
}

func (f owned) fate(p packet, told bool) fate {
	if f.SourceRanges != nil && !slices.ContainsFunc(f.SourceRanges, func(r netip.Prefix) bool { return r.Contains(p.from) }) {
		return fate{action: table.Drop}
	}
	return fate{f.Action, f.Endpoints, func(endpoint netip.AddrPort) bool {
		itself := endpoint.Addr() == p.from && slices.Contains(f.service.Hairpin, p.from)
		return itself || f.Masquerade == table.Always || f.Masquerade == table.FromOutside && told && !p.pod
	}}
}
