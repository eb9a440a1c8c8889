// SPDX-License-Identifier: Apache-2.0

package connections

import (
	"net/netip"

	"eastwest/internal/kernel/conntrack"
	"eastwest/internal/table"
)

// endpoints are those of one frontend, in all its views.
type endpoints map[netip.AddrPort]bool

// place is an address and port; of a node port the address is unspecified.
func place(f table.Frontend) netip.AddrPort { return netip.AddrPortFrom(f.Addr, f.Port) }

// anywhere is the place of a node port with the port of to.
func anywhere(to netip.AddrPort) netip.AddrPort {
	if to.Addr().Is4() {
		return netip.AddrPortFrom(netip.IPv4Unspecified(), to.Port())
	}
	return netip.AddrPortFrom(netip.IPv6Unspecified(), to.Port())
}

// frontendsOf returns the UDP frontends of a row with the endpoints that may have connections.
func frontendsOf(row table.Service) map[netip.AddrPort]endpoints {
	out := map[netip.AddrPort]endpoints{}
	for _, f := range row.Frontends {
		if f.Protocol != table.UDP || f.LocalSocket && len(f.Endpoints) == 0 {
			continue
		}
		at := place(f)
		if out[at] == nil {
			out[at] = endpoints{}
		}
		for _, list := range [...][]netip.AddrPort{f.Endpoints, f.Draining} {
			for _, e := range list {
				out[at][e] = true
			}
		}
	}
	return out
}

// losses says which endpoints frontends lost. The place itself stands for "not translated": connections that were there
// before the frontend was.
type losses map[netip.AddrPort]endpoints

func (l losses) add(old, row table.Service) {
	before, after := frontendsOf(old), frontendsOf(row)
	for at, had := range before {
		for e := range had {
			if !after[at][e] {
				l.lose(at, e)
			}
		}
	}
	for at, has := range after {
		if len(has) > 0 && len(before[at]) == 0 {
			l.lose(at, at)
		}
	}
}

func (l losses) lose(at, endpoint netip.AddrPort) {
	if l[at] == nil {
		l[at] = endpoints{}
	}
	l[at][endpoint] = true
}

// keep takes back what a row has.
func (l losses) keep(row table.Service) {
	if len(l) == 0 {
		return
	}
	for at, has := range frontendsOf(row) {
		for e := range has {
			delete(l[at], e)
		}
		if len(l[at]) == 0 {
			delete(l, at)
		}
	}
}

func (l losses) needAddresses() bool {
	for at := range l {
		if at.Addr().IsUnspecified() {
			return true
		}
	}
	return false
}

func (l losses) stale(e conntrack.Entry, own map[netip.Addr]bool) bool {
	if lost := l[e.To]; lost[e.Endpoint] {
		return true
	}
	at := anywhere(e.To)
	lost := l[at]
	if lost == nil || !own[e.To.Addr()] {
		return false
	}
	if e.To == e.Endpoint {
		return lost[at]
	}
	return lost[e.Endpoint]
}

// known is every UDP frontend that there is.
type known struct {
	services  []netip.Prefix
	frontends map[netip.AddrPort]endpoints
	elsewhere map[netip.Addr]bool // what another proxy serves
}

func (k known) add(row table.Service) {
	for _, addr := range row.Elsewhere {
		k.elsewhere[addr] = true
	}
	for at, has := range frontendsOf(row) {
		if k.frontends[at] == nil {
			k.frontends[at] = has
			continue
		}
		for e := range has {
			k.frontends[at][e] = true
		}
	}
}

// stale reports whether a connection to a service goes where that has no endpoint. A socket of this node that is bound
// to a node port keeps what it has: nothing is translated there before the frontend has an endpoint.
func (k known) stale(e conntrack.Entry, own map[netip.Addr]bool) bool {
	if has, ok := k.frontends[e.To]; ok {
		return !has[e.Endpoint]
	}
	if has, ok := k.frontends[anywhere(e.To)]; ok && own[e.To.Addr()] {
		return (len(has) > 0 || e.To != e.Endpoint) && !has[e.Endpoint]
	}
	if e.To == e.Endpoint || k.elsewhere[e.To.Addr()] {
		return false
	}
	for _, p := range k.services {
		if p.Contains(e.To.Addr()) {
			return true
		}
	}
	return false
}
