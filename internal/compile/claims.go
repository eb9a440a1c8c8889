// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"net/netip"
	"slices"

	"eastwest/internal/table"
)

// place is what only one frontend can have. Of a node port the address is unspecified.
type place struct {
	view     table.View
	addr     netip.Addr
	protocol table.Protocol
	port     uint16
}

func placeOf(f table.Frontend) place { return place{f.View, f.Addr, f.Protocol, f.Port} }

// claim is the wish of one service to have a place.
type claim struct {
	kind    table.Kind
	service string // namespace/name
}

// claims knows which services want which places. Nothing stops two services from naming one external address and port;
// virtual addresses come before external ones, so that nobody takes another's, and then the first by name has it.
type claims struct {
	of    map[string][]place // by service
	alone map[place]claim    // the usual case
	more  map[place][]claim  // places that several want, best first
}

func newClaims() claims {
	return claims{of: map[string][]place{}, alone: map[place]claim{}, more: map[place][]claim{}}
}

// set replaces what a service wants and returns the other services that may win or lose a place by that.
func (c *claims) set(service string, row table.Service) []string {
	var touched []string
	for _, at := range c.of[service] {
		touched = append(touched, c.remove(at, service)...)
	}
	delete(c.of, service)
	for _, f := range row.Frontends {
		at := placeOf(f)
		touched = append(touched, c.add(at, claim{f.Kind, service})...)
		c.of[service] = append(c.of[service], at)
	}
	return touched
}

func (c *claims) add(at place, wish claim) []string {
	holder, taken := c.alone[at]
	if !taken && c.more[at] == nil {
		c.alone[at] = wish
		return nil
	}
	list := c.more[at]
	if taken {
		delete(c.alone, at)
		list = []claim{holder}
	}
	others := servicesOf(list)
	list = append(list, wish)
	slices.SortFunc(list, claim.compare)
	c.more[at] = list
	return others
}

func (c *claims) remove(at place, service string) []string {
	if c.more[at] == nil {
		delete(c.alone, at)
		return nil
	}
	list := slices.DeleteFunc(c.more[at], func(w claim) bool { return w.service == service })
	c.more[at] = list
	if len(list) == 1 {
		delete(c.more, at)
		c.alone[at] = list[0]
	}
	return servicesOf(list)
}

// granted returns the row with only the frontends that the service has against all others.
func (c *claims) granted(service string, row table.Service) table.Service {
	lost := func(f table.Frontend) bool {
		list := c.more[placeOf(f)]
		return list != nil && list[0].service != service
	}
	if slices.ContainsFunc(row.Frontends, lost) {
		row.Frontends = slices.DeleteFunc(slices.Clone(row.Frontends), lost)
	}
	return row
}

func (w claim) compare(other claim) int {
	if w.kind != other.kind {
		return int(w.kind) - int(other.kind)
	}
	if w.service < other.service {
		return -1
	}
	return 1
}

func servicesOf(list []claim) []string {
	out := make([]string, len(list))
	for i, w := range list {
		out[i] = w.service
	}
	return out
}
