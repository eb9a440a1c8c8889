// SPDX-License-Identifier: Apache-2.0

package table

import (
	"net/netip"
	"slices"
)

// Equal reports whether two rows say the same, in the same order.
func (s Service) Equal(t Service) bool { return s.equal(t, slices.Equal[[]netip.AddrPort]) }

// Alike reports whether two rows say the same, in whichever order the endpoints of their frontends are.
func (s Service) Alike(t Service) bool {
	return s.equal(t, func(a, b []netip.AddrPort) bool {
		if slices.Equal(a, b) || len(a) != len(b) {
			return len(a) == len(b)
		}
		a, b = slices.Clone(a), slices.Clone(b)
		slices.SortFunc(a, netip.AddrPort.Compare)
		slices.SortFunc(b, netip.AddrPort.Compare)
		return slices.Equal(a, b)
	})
}

func (s Service) equal(t Service, endpoints func(a, b []netip.AddrPort) bool) bool {
	return s.Object == t.Object && slices.Equal(s.Hairpin, t.Hairpin) && slices.Equal(s.Addresses, t.Addresses) &&
		s.HealthCheck == t.HealthCheck && s.LocalEndpoints == t.LocalEndpoints &&
		slices.EqualFunc(s.Frontends, t.Frontends, func(f, g Frontend) bool { return f.equal(g, endpoints) })
}

func (f Frontend) equal(g Frontend, endpoints func(a, b []netip.AddrPort) bool) bool {
	return f.Kind == g.Kind && f.View == g.View && f.Addr == g.Addr && f.Protocol == g.Protocol && f.Port == g.Port && f.PortName == g.PortName &&
		f.Action == g.Action && f.Local == g.Local && endpoints(f.Endpoints, g.Endpoints) && slices.Equal(f.Draining, g.Draining) &&
		f.Masquerade == g.Masquerade && f.AffinitySeconds == g.AffinitySeconds && f.LocalSocket == g.LocalSocket &&
		slices.Equal(f.SourceRanges, g.SourceRanges) && (f.SourceRanges == nil) == (g.SourceRanges == nil)
}
