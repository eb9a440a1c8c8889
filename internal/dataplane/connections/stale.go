// SPDX-License-Identifier: Apache-2.0

package connections

import (
	"maps"
	"net/netip"
	"slices"

	"eastwest/internal/dataplane"
	"eastwest/internal/kernel/conntrack"
	"eastwest/internal/table"
)

// endpoints are the sorted lists of those that may have connections of one frontend, in all its views.
type endpoints [][]netip.AddrPort

func (e endpoints) has(endpoint netip.AddrPort) bool {
	for _, list := range e {
		if _, found := slices.BinarySearchFunc(list, endpoint, netip.AddrPort.Compare); found {
			return true
		}
	}
	return false
}

// place is an address and port; of a node port the address is unspecified.
func place(f table.Frontend) netip.AddrPort { return netip.AddrPortFrom(f.Addr, f.Port) }

// anywhere is the place of a node port with the port of to.
func anywhere(to netip.AddrPort) netip.AddrPort {
	if to.Addr().Is4() {
		return netip.AddrPortFrom(netip.IPv4Unspecified(), to.Port())
	}
	return netip.AddrPortFrom(netip.IPv6Unspecified(), to.Port())
}

// frontendsOf returns the UDP frontends of a row with the endpoints that may have connections; none for one without.
func frontendsOf(row table.Service) map[netip.AddrPort]endpoints {
	var out map[netip.AddrPort]endpoints
	for _, f := range row.Frontends {
		if f.Protocol != table.UDP || f.LocalSocket && len(f.Endpoints) == 0 {
			continue
		}
		if out == nil {
			out = make(map[netip.AddrPort]endpoints, len(row.Frontends))
		}
		at := place(f)
		lists := out[at]
		for _, list := range [...][]netip.AddrPort{f.Endpoints, f.Draining} {
			if len(list) > 0 {
				lists = append(lists, list)
			}
		}
		out[at] = lists
	}
	return out
}

// losses says which endpoints frontends lost. The place itself stands for "not translated": connections that were there
// before the frontend was.
type losses map[netip.AddrPort]map[netip.AddrPort]bool

// add adds what a row lost, and the connections of before its frontends had endpoints. What another proxy serves from now on is that one's.
func (l losses) add(old, row table.Service) {
	if len(row.Elsewhere) > 0 {
		return
	}
	before, after := frontendsOf(old), frontendsOf(row)
	for at, had := range before {
		for _, list := range had {
			for _, e := range list {
				if !after[at].has(e) {
					l.lose(at, e)
				}
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
		l[at] = map[netip.AddrPort]bool{}
	}
	l[at][endpoint] = true
}

// keep takes back what a row has.
func (l losses) keep(row table.Service) {
	if len(l) == 0 {
		return
	}
	for at, has := range frontendsOf(row) {
		for e := range l[at] {
			if has.has(e) {
				delete(l[at], e)
			}
		}
		if l[at] != nil && len(l[at]) == 0 {
			delete(l, at)
		}
	}
}

// routes returns where stale entries may be: each way from a frontend to an endpoint or, where these are many, all ways to one endpoint
// or from one frontend.
func (l losses) routes() []conntrack.Entry {
	ways, endpoints, places := map[conntrack.Entry]bool{}, map[conntrack.Entry]bool{}, map[conntrack.Entry]bool{}
	for at, lost := range l {
		places[conntrack.Entry{To: at}] = true
		for e := range lost {
			ways[conntrack.Entry{To: at, Endpoint: e}] = true
			endpoints[conntrack.Entry{Endpoint: e}] = true
		}
	}
	for _, few := range [...]map[conntrack.Entry]bool{ways, endpoints, places} {
		if len(few) <= conntrack.FewRoutes {
			return slices.Collect(maps.Keys(few))
		}
	}
	return nil
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
	services  *dataplane.Ranges
	frontends map[netip.AddrPort]endpoints
	elsewhere map[netip.Addr]bool // what another proxy serves
}

func (k known) add(row table.Service) {
	for _, addr := range row.Elsewhere {
		k.elsewhere[addr] = true
	}
	for at, has := range frontendsOf(row) {
		k.frontends[at] = append(k.frontends[at], has...)
	}
}

// stale reports whether a connection to a service goes where that has no endpoint. A socket of this node that is bound
// to a node port keeps what it has: nothing is translated there before the frontend has an endpoint.
func (k known) stale(e conntrack.Entry, own map[netip.Addr]bool) bool {
	if has, ok := k.frontends[e.To]; ok {
		return !has.has(e.Endpoint)
	}
	if has, ok := k.frontends[anywhere(e.To)]; ok && own[e.To.Addr()] {
		return (len(has) > 0 || e.To != e.Endpoint) && !has.has(e.Endpoint)
	}
	if e.To == e.Endpoint || k.elsewhere[e.To.Addr()] {
		return false
	}
	return k.services.Contains(e.To.Addr())
}
