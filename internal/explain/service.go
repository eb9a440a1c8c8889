// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"eastwest/internal/kernel/forward"
	"eastwest/internal/kernel/nft"
)

// lookup is one rule of the table: the map that it looks the packet up in, and the maps of endpoints behind it.
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

// service finds the rule and element that take the packet; nil when none does.
func (e *Explainer) service(ctx context.Context, rules *ruleset, q Question, path *Path) (*Service, error) {
	local, err := e.isNodePortAddress(q.To.Addr())
	if err != nil || rules.absent {
		return nil, err
	}
	outside := path.From.Kind != FromNode && !rules.isPod(q.From)
	var order []lookup
	if outside {
		order = outsideRules
	}
	order = append(order[:len(order):len(order)], addressRules...)
	found, err := e.first(ctx, order, local, q, path)
	if found != nil || err != nil {
		return found, err
	}
	if found, err = e.refused(ctx, rules, q, path); found != nil || err != nil || !local {
		return found, err
	}
	return e.first(ctx, portRules, local, q, path)
}

func (e *Explainer) first(ctx context.Context, order []lookup, local bool, q Question, path *Path) (*Service, error) {
	for _, rule := range order {
		if rule.byPort && !local {
			continue
		}
		if found, err := e.find(ctx, rule, q, path); found != nil || err != nil {
			return found, err
		}
	}
	return nil, nil
}

// isNodePortAddress reports whether node ports are served on an address: on every one of this node's but loopback's.
func (e *Explainer) isNodePortAddress(addr netip.Addr) (bool, error) {
	route, err := e.kernel.Route(addr, forward.From{})
	return err == nil && route.Local && !addr.IsLoopback(), nil
}

// find looks the packet up in one map.
func (e *Explainer) find(ctx context.Context, rule lookup, q Question, path *Path) (*Service, error) {
	data, comment, err := e.element(ctx, q, rule.set, keyOf(q, rule.byPort))
	if err != nil || len(data) < 4 {
		return nil, err
	}
	number := binary.NativeEndian.Uint32([]byte(data)) & dropped
	s := &Service{Label: comment, Table: tableIn(q), Map: rule.set, Action: "forward"}
	switch number {
	case dropped:
		s.Action = "drop"
		path.problem("service %s has no ready endpoint on this node, and its traffic policy drops the packet", s.Label)
	case 0:
		s.Action = "refuse"
		path.problem("service %s has no ready endpoint: connections are refused", s.Label)
	}
	return s, e.endpoints(ctx, s, rule, q, path)
}

// endpoints reads the endpoints, in the order of their slots.
func (e *Explainer) endpoints(ctx context.Context, s *Service, rule lookup, q Question, path *Path) error {
	socket, err := e.socket(ctx, q)
	if err != nil {
		return err
	}
	s.LocalSocket = socket
	if s.Action != "forward" {
		return nil
	}
	set, key := rule.group+"-endpoint", keyOf(q, rule.byPort)
	list, err := e.rules.Elements(ctx, familyOf(q.To.Addr()), tableName, set)
	if err != nil {
		return err
	}
	list = slices.DeleteFunc(list, func(element nft.Element) bool { return !strings.HasPrefix(element.Key, key) })
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

// socket reports whether a socket of this node that is bound to the address takes the packet before any translation.
func (e *Explainer) socket(ctx context.Context, q Question) (bool, error) {
	list, err := e.rules.Elements(ctx, familyOf(q.To.Addr()), tableName, "local-socket")
	key := keyOf(q, false)
	for _, element := range list {
		if element.Key == key {
			return true, err
		}
	}
	return false, err
}

// refused finds the rules that refuse what no service serves.
func (e *Explainer) refused(ctx context.Context, rules *ruleset, q Question, path *Path) (*Service, error) {
	list, err := e.rules.Elements(ctx, familyOf(q.To.Addr()), tableName, "service-address")
	if err != nil {
		return nil, err
	}
	s := &Service{Table: tableIn(q), Map: "service-address", Action: "refuse"}
	for _, element := range list {
		if element.Key == string(q.To.Addr().AsSlice()) {
			s.Label = element.Comment
			path.problem("service %s has no port %d/%s: connections are refused", s.Label, q.To.Port(), q.Protocol)
			return s, nil
		}
	}
	if contains(rules.services, q.To.Addr()) {
		s.Map = ""
		path.problem("%s is in the network of services, but no service has it: connections are refused", q.To.Addr())
		return s, nil
	}
	return nil, nil
}

// element returns what a map holds for a key; empty data when it holds nothing.
func (e *Explainer) element(ctx context.Context, q Question, set, key string) (data, comment string, err error) {
	list, err := e.rules.Elements(ctx, familyOf(q.To.Addr()), tableName, set)
	if err != nil {
		return "", "", err
	}
	for _, element := range list {
		if element.Key == key {
			return element.Data, cmp.Or(element.Comment, "a service without a name"), nil
		}
	}
	return "", "", nil
}

func tableIn(q Question) string { return fmt.Sprintf("%s %s", familyOf(q.To.Addr()), tableName) }

// keyOf returns the bytes that the maps are searched for: [address] protocol port, each padded to four.
func keyOf(q Question, byPort bool) string {
	var key []byte
	if !byPort {
		key = q.To.Addr().AsSlice()
	}
	key = append(key, byte(q.Protocol), 0, 0, 0)
	return string(append(key, byte(q.To.Port()>>8), byte(q.To.Port()), 0, 0))
}

// addrPortOf reads an endpoint: address, and port padded to four bytes. An address of the family of like.
func addrPortOf(data string, like netip.Addr) (netip.AddrPort, bool) {
	n := like.BitLen() / 8
	if len(data) < n+2 {
		return netip.AddrPort{}, false
	}
	addr, ok := netip.AddrFromSlice([]byte(data[:n]))
	return netip.AddrPortFrom(addr, binary.BigEndian.Uint16([]byte(data[n:]))), ok
}
