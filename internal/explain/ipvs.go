// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"context"
	"net/netip"
	"slices"

	"eastwest/internal/kernel/ipvs"
)

// ipvsTable has the rules beside IPVS.
const ipvsTable = "eastwest-ipvs"

// ipvsRules are the sets and maps that a new connection meets, in this order, before IPVS has it.
var ipvsRules = []struct {
	set, action string
	from        func(outside, node bool) bool // the clients that meet it; nil is all
}{
	{"outside-alias", actionForward, fromOutside},
	{"local-socket-alias", actionForward, fromElsewhere},
	{"dropped-outside", actionDrop, fromOutside},
	{"refused-outside", actionRefuse, fromOutside},
	{"dropped", actionDrop, nil},
	{"refused", actionRefuse, nil},
	{"direct", actionForward, nil},
	{"masqueraded", actionForward, nil},
	{"masqueraded-outside", actionForward, nil},
}

func fromOutside(outside, _ bool) bool { return outside }
func fromElsewhere(_, node bool) bool  { return !node }

// ipvs finds the set that decides about the packet, and the virtual server that it is for; nil when none does.
func (e *Explainer) ipvs(ctx context.Context, rules *ruleset, q Question, path *Path) (*Service, error) {
	table := reader{e.from.Rules, familyOf(q.To.Addr()), ipvsTable}
	if own, err := table.own(ctx, q, path); own != nil || err != nil {
		return own, err
	}
	if shut, err := table.shut(ctx, q, path); shut != nil || err != nil {
		return shut, err
	}
	isOutside, isNode := outside(rules, q, path), path.From.Kind == FromNode
	for _, rule := range ipvsRules {
		if rule.from != nil && !rule.from(isOutside, isNode) {
			continue
		}
		data, label, found, err := table.element(ctx, rule.set, keyOf(q, false))
		if err != nil {
			return nil, err
		}
		if !found {
			continue
		}
		s := &Service{Label: label, Table: table.String(), Map: rule.set, Action: rule.action}
		if s.LocalSocket, err = table.socket(ctx, q); err != nil {
			return nil, err
		}
		if rule.action != actionForward {
			s.withoutEndpoints(rule.action, path)
			return s, nil
		}
		server := q.To
		if alias, ok := addrPortOf(data, q.To.Addr()); ok {
			server = alias
		}
		return s, e.destinations(ctx, s, ipvs.Key{Addr: server.Addr(), Port: server.Port(), Protocol: uint8(q.Protocol)}, path)
	}
	return table.unused(ctx, rules, q, path)
}

// destinations reads the virtual server of a service.
func (e *Explainer) destinations(ctx context.Context, s *Service, key ipvs.Key, path *Path) error {
	servers, err := e.from.Servers.Servers(ctx)
	if err != nil {
		return err
	}
	for _, server := range servers {
		if server.Key == key {
			s.VirtualServer = &VirtualServer{Address: netip.AddrPortFrom(key.Addr, key.Port).String(), Scheduler: server.Scheduler}
		}
	}
	if s.VirtualServer == nil {
		path.problem("IPVS has no virtual server %s for service %s: connections are lost", netip.AddrPortFrom(key.Addr, key.Port), s.Label)
		return nil
	}
	list, err := e.from.Servers.Destinations(ctx, key)
	if err != nil {
		return err
	}
	// The kernel has its own order, which changes with every destination.
	slices.SortFunc(list, func(a, b ipvs.Destination) int { return a.Addr.Compare(b.Addr) })
	for _, d := range list {
		if d.Weight == 0 {
			s.VirtualServer.Leaving++
			continue
		}
		s.targets = append(s.targets, Target{Address: d.Addr.String(), Weight: d.Weight, addr: d.Addr.Addr()})
	}
	if s.Endpoints = len(s.targets); s.Endpoints == 0 {
		path.problem("virtual server %s has no destination: connections to service %s are lost", s.VirtualServer.Address, s.Label)
	}
	return nil
}
