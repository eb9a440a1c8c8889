// SPDX-License-Identifier: Apache-2.0

package connections

import (
	"iter"
	"net/netip"
	"time"

	"eastwest/internal/dataplane"
	"eastwest/internal/kernel/conntrack"
	"eastwest/internal/table"
)

// look is one look for streams to endpoints that are gone.
type look struct {
	want     table.Table[table.Service]
	all      bool                // whatever no slice lists is gone
	gone     map[netip.Addr]bool // otherwise these
	again    time.Time           // when those are looked for that turn out to be listed
	past     map[netip.AddrPort]bool
	own      map[netip.Addr]bool
	services *dataplane.Ranges
	sctp     bool // look for SCTP as well
	listed   func() iter.Seq[netip.Addr]

	// Made when the first connection asks for them.
	lists     map[netip.Addr]bool
	frontends map[netip.AddrPort]bool
	elsewhere map[netip.Addr]bool
}

// routes returns where such connections are: at these addresses if they are few, or in these families.
func (l *look) routes() (out []conntrack.Entry) {
	if l.all {
		return nil
	}
	families := map[netip.Addr]bool{}
	for addr := range l.gone {
		out = append(out, conntrack.Entry{Endpoint: netip.AddrPortFrom(addr, 0)})
		families[anywhere(netip.AddrPortFrom(addr, 0)).Addr()] = true
	}
	if len(out) <= conntrack.FewRoutes {
		return out
	}
	out = nil
	for family := range families {
		out = append(out, conntrack.Entry{Endpoint: netip.AddrPortFrom(family, 0)})
	}
	return out
}

func (l *look) stale(e conntrack.Entry) bool {
	addr := e.Endpoint.Addr()
	return e.To != e.Endpoint && (l.all && !l.isListed(addr) || l.gone[addr]) && l.ours(e.To)
}

// isListed reports whether a slice lists an address.
func (l *look) isListed(addr netip.Addr) bool {
	if l.lists == nil {
		l.lists = map[netip.Addr]bool{}
		for addr := range l.listed() {
			l.lists[addr] = true
		}
	}
	return l.lists[addr]
}

// ours reports whether a place is or was a Service's: other programs translate addresses as well.
func (l *look) ours(to netip.AddrPort) bool {
	if l.frontends == nil {
		l.frontends, l.elsewhere = map[netip.AddrPort]bool{}, map[netip.Addr]bool{}
		for _, row := range l.want.All() {
			for _, addr := range row.Elsewhere {
				l.elsewhere[addr] = true
			}
			for _, f := range row.Frontends {
				l.frontends[place(f)] = true
			}
		}
	}
	if l.elsewhere[to.Addr()] {
		return false
	}
	at := anywhere(to)
	return l.frontends[to] || l.past[to] || l.own[to.Addr()] && (l.frontends[at] || l.past[at]) || l.services.Contains(to.Addr())
}
