// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"cmp"
	"context"
	"encoding/binary"
	"slices"

	"eastwest/internal/kernel/nft"
)

// nftablesTable has everything of the backend nftables.
const nftablesTable = "eastwest"

// lookup is one rule of the table: the map that it looks the packet up in, and the map of endpoints behind it.
type lookup struct {
	set, group string
	byPort     bool // the key has no address: node ports
}

// The rules in the order in which a packet meets them. The first two are met only by packets from outside the cluster.
var (
	outsideRules = []lookup{{"external-ip-outside", "outside-address", false}, {"node-port-outside", "outside-port", true}}
	addressRules = []lookup{{"service-ip", "address", false}, {"external-ip", "address", false}}
	portRules    = []lookup{{"node-port", "port", true}, {"node-port-inside", "port", true}}
)

// The number of an element: how one of its endpoints is drawn in the low bits, 0 where there is none, seconds of affinity above
// them; dropped says: discard silently.
const (
	drawBits = 15
	dropped  = 1<<drawBits - 1
)

// nftables finds the rule and element that take the packet; nil when none does.
func (e *Explainer) nftables(ctx context.Context, rules *ruleset, q Question, path *Path) (*Service, error) {
	table := reader{e.from.Rules, familyOf(q.To.Addr()), nftablesTable}
	if own, err := table.own(ctx, q, path); own != nil || err != nil {
		return own, err
	}
	if shut, err := table.shut(ctx, q, path); shut != nil || err != nil {
		return shut, err
	}
	local := e.isLocal(q.To.Addr()) && rules.servesPorts(q.To.Addr())
	var order []lookup
	if outside(rules, q, path) {
		order = outsideRules
	}
	order = append(order[:len(order):len(order)], addressRules...)
	found, err := table.first(ctx, order, local, q, path)
	if found != nil || err != nil {
		return found, err
	}
	if found, err = table.unused(ctx, rules, q, path); found != nil || err != nil || !local {
		return found, err
	}
	return table.first(ctx, portRules, local, q, path)
}

func (r reader) first(ctx context.Context, order []lookup, local bool, q Question, path *Path) (*Service, error) {
	for _, rule := range order {
		if rule.byPort && !local {
			continue
		}
		if found, err := r.frontend(ctx, rule, q, path); found != nil || err != nil {
			return found, err
		}
	}
	return nil, nil
}

// frontend looks the packet up in one map.
func (r reader) frontend(ctx context.Context, rule lookup, q Question, path *Path) (*Service, error) {
	data, label, found, err := r.element(ctx, rule.set, keyOf(q, rule.byPort))
	if err != nil || !found || len(data) < 4 {
		return nil, err
	}
	s := &Service{Label: label, Table: r.String(), Map: rule.set, Action: actionForward}
	switch binary.NativeEndian.Uint32([]byte(data)) & dropped {
	case dropped:
		s.withoutEndpoints(actionDrop, path)
	case 0:
		s.withoutEndpoints(actionRefuse, path)
	default:
		err = r.slots(ctx, s, rule, q, path)
	}
	if err == nil {
		s.LocalSocket, err = r.socket(ctx, q)
	}
	return s, err
}

// slots reads the endpoints, in the order of their slots.
func (r reader) slots(ctx context.Context, s *Service, rule lookup, q Question, path *Path) error {
	set, key := rule.group+"-endpoint", keyOf(q, rule.byPort)
	list, err := r.all(ctx, set, key)
	if err != nil {
		return err
	}
	slot := func(element nft.Element) uint32 { return binary.NativeEndian.Uint32([]byte(element.Key[len(key):])) }
	slices.SortFunc(list, func(a, b nft.Element) int { return cmp.Compare(slot(a), slot(b)) })
	for _, element := range list {
		if endpoint, ok := addrPortOf(element.Data, q.To.Addr()); ok {
			s.targets = append(s.targets, Target{Address: endpoint.String(), Map: set, addr: endpoint.Addr()})
		}
	}
	if s.Endpoints = len(s.targets); s.Endpoints == 0 {
		path.problem("map %s has no endpoint for %s: connections are lost", set, q)
	}
	return nil
}
