// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"net/netip"
	"slices"

	"eastwest/internal/snapshot"
	"eastwest/internal/table"
)

// pool is the endpoints of one port and family, chosen by policy.
type pool struct {
	cluster   []netip.AddrPort // for clients that any endpoint may serve, nearest zone or node first
	local     []netip.AddrPort // on this node
	elsewhere []netip.AddrPort // of cluster, those on other nodes
	keeping   []netip.AddrPort // all that keep their connections, whatever policy says
	any       bool             // there is a usable endpoint somewhere
	hairpin   []netip.Addr     // addresses of usable endpoints on this node
}

func (p pool) clusterAction() table.Action { return actionOf(p.cluster, table.Reject) }

// localAction drops what other nodes could serve, so that a load balancer finds that this one does not; with no
// endpoint anywhere the client is told at once.
func (p pool) localAction() table.Action {
	if p.any {
		return actionOf(p.local, table.Drop)
	}
	return actionOf(p.local, table.Reject)
}

func actionOf(endpoints []netip.AddrPort, none table.Action) table.Action {
	if len(endpoints) == 0 {
		return none
	}
	return table.Forward
}

// candidate is an endpoint that serves the port.
type candidate struct {
	addr netip.AddrPort
	*snapshot.Endpoint
}

func (b *builder) pool(port snapshot.Port, ipv6 bool) pool {
	all := b.candidates(port, ipv6)
	local := slices.DeleteFunc(slices.Clone(all), func(c candidate) bool { return c.Node == "" || c.Node != b.config.NodeName })
	chosen := usable(all)
	near := b.nearest(chosen)
	out := pool{cluster: addrPorts(near), local: addrPorts(usable(local)), any: len(chosen) > 0}
	out.elsewhere = addrPorts(slices.DeleteFunc(slices.Clone(chosen), func(c candidate) bool { return c.Node == b.config.NodeName }))
	for _, c := range local {
		if c.Ready || c.Serving {
			out.hairpin = append(out.hairpin, c.addr.Addr())
		}
		if c.Ready {
			b.localReady[c.addr.Addr()] = true
		}
	}
	if port.Protocol == table.UDP { // nobody tells the client of one that no longer answers
		all = slices.DeleteFunc(all, func(c candidate) bool { return !c.Ready && !c.Serving })
	}
	if out.keeping = out.cluster; len(all) != len(out.cluster) {
		out.keeping = addrPorts(all)
	}
	return out
}

func (b *builder) candidates(port snapshot.Port, ipv6 bool) []candidate {
	var out []candidate
	for _, slice := range b.slices {
		if slice.IPv6 != ipv6 {
			continue
		}
		for _, p := range slice.Ports {
			if p.Name != port.Name || p.Protocol != port.Protocol || p.Port == 0 {
				continue
			}
			for i := range slice.Endpoints {
				e := &slice.Endpoints[i]
				out = append(out, candidate{netip.AddrPortFrom(e.Addrs[0], p.Port), e})
			}
		}
	}
	return out
}

// usable returns the ready endpoints or, when there is none, those that still serve while they terminate.
func usable(all []candidate) []candidate {
	var ready, terminating []candidate
	for _, c := range all {
		switch {
		case c.Ready:
			ready = append(ready, c)
		case c.Serving && c.Terminating:
			terminating = append(terminating, c)
		}
	}
	if len(ready) > 0 {
		return ready
	}
	return terminating
}

// nearest keeps the endpoints that are meant for this node or else this zone, as long as every endpoint has a hint and
// one of them is meant for here; else all. Terminating endpoints are never narrowed down.
func (b *builder) nearest(all []candidate) []candidate {
	if len(all) == 0 || !all[0].Ready {
		return all
	}
	if near := hinted(all, b.config.NodeName, func(c candidate) []string { return c.NodeHints() }); near != nil {
		return near
	}
	if near := hinted(all, b.zone, func(c candidate) []string { return c.ZoneHints() }); near != nil {
		return near
	}
	return all
}

func hinted(all []candidate, here string, hints func(candidate) []string) []candidate {
	if here == "" {
		return nil
	}
	var near []candidate
	for _, c := range all {
		list := hints(c)
		if len(list) == 0 {
			return nil
		}
		if slices.Contains(list, here) {
			near = append(near, c)
		}
	}
	return near
}

func addrPorts(list []candidate) []netip.AddrPort {
	out := make([]netip.AddrPort, 0, len(list))
	for _, c := range list {
		out = append(out, c.addr)
	}
	slices.SortFunc(out, netip.AddrPort.Compare)
	return slices.Compact(out)
}
