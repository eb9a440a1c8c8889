// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"net/netip"
	"strings"

	"eastwest/internal/kernel/forward"
	"eastwest/internal/kernel/iptables"
	"eastwest/internal/kernel/nft"
)

// What becomes of a packet to a service.
const (
	actionForward = "forward"
	actionRefuse  = "refuse"
	actionDrop    = "drop"
)

// carrier is what carries this node's services: what its rules say of networks, and how to follow a packet through it.
type carrier struct {
	rules  *ruleset
	follow func(context.Context, *ruleset, Question, *Path) (*Service, error)
}

// carrierOf looks for the backends, one after the other.
func (e *Explainer) carrierOf(ctx context.Context, family nft.Family, path *Path) (carrier, error) {
	for _, c := range []struct {
		table  string
		follow func(context.Context, *ruleset, Question, *Path) (*Service, error)
	}{{nftablesTable, e.nftables}, {ipvsTable, e.ipvs}} {
		listing, err := e.from.Rules.List(ctx, family, c.table)
		if err == nil {
			return carrier{parseRuleset(listing), c.follow}, nil
		}
		if !errors.Is(err, nft.ErrNotExist) && !errors.Is(err, nft.ErrMissing) {
			return carrier{}, err
		}
	}
	c, found, err := e.readChains(ctx, family)
	if found || err != nil {
		return carrier{c.ruleset(), c.follow}, err
	}
	path.problem("this node carries no services: it has neither table %[1]s %[2]s nor %[1]s %[3]s of nftables nor chain %[4]s of iptables",
		family, nftablesTable, ipvsTable, chainServices)
	return carrier{&ruleset{}, nothing}, nil
}

func nothing(context.Context, *ruleset, Question, *Path) (*Service, error) { return nil, nil }

// outside reports whether the packet comes from no pod and not from the node itself.
func outside(rules *ruleset, q Question, path *Path) bool {
	if rules.device != "" && path.From.Link != nil {
		name, prefix := strings.CutSuffix(rules.device, "*")
		return path.From.Link.Name != name && !(prefix && strings.HasPrefix(path.From.Link.Name, name))
	}
	return path.From.Kind != FromNode && !rules.isPod(q.From)
}

// isLocal reports whether an address is this node's own.
func (e *Explainer) isLocal(addr netip.Addr) bool {
	route, err := e.kernel.Route(addr, forward.From{})
	return err == nil && route.Local
}

// Sets and maps that the tables of both backends have.
const (
	setAddress = "service-address"
	setSocket  = "local-socket"
	setRanged  = "source-ranged"
	setAllowed = "allowed-sources"

	setElsewhere = "served-elsewhere"
)

// nameless stands for a service whose element has no comment.
const nameless = "a service without a name"

// reader looks keys up in the sets and maps of one table.
type reader struct {
	rules  Rules
	family nft.Family
	table  string
}

func (r reader) String() string { return string(r.family) + " " + r.table }

// all returns the elements whose keys begin so.
func (r reader) all(ctx context.Context, set, prefix string) (found []nft.Element, err error) {
	list, err := r.rules.Elements(ctx, r.family, r.table, set)
	for _, element := range list {
		if strings.HasPrefix(element.Key, prefix) {
			found = append(found, element)
		}
	}
	return found, err
}

// element returns what a set or map holds for a key; found is false when it holds nothing.
func (r reader) element(ctx context.Context, set, key string) (data, comment string, found bool, err error) {
	list, err := r.all(ctx, set, key)
	for _, element := range list {
		if element.Key == key {
			return element.Data, cmp.Or(element.Comment, nameless), true, err
		}
	}
	return "", "", false, err
}

// socket reports whether a socket of this node that is bound to the address takes the packet before any translation.
func (r reader) socket(ctx context.Context, q Question) (bool, error) {
	_, _, found, err := r.element(ctx, setSocket, keyOf(q, false))
	return found, err
}

// own finds the socket of this node that has the node's own packets to an address: they are never translated.
func (r reader) own(ctx context.Context, q Question, path *Path) (*Service, error) {
	_, label, found, err := r.element(ctx, setSocket, keyOf(q, false))
	if !found || err != nil || path.From.Kind != FromNode {
		return nil, err
	}
	return toSocket(Service{Label: label, Table: r.String(), Map: setSocket}, q), nil
}

func toSocket(s Service, q Question) *Service {
	s.Action, s.LocalSocket = actionForward, true
	s.targets = []Target{{Address: q.To.String(), addr: q.To.Addr()}}
	return &s
}

// shut finds a load balancer whose source ranges leave the client out.
func (r reader) shut(ctx context.Context, q Question, path *Path) (*Service, error) {
	_, label, ranged, err := r.element(ctx, setRanged, keyOf(q, false))
	if !ranged || err != nil || !q.From.IsValid() {
		return nil, err
	}
	list, err := r.all(ctx, setAllowed, keyOf(q, false))
	if err != nil {
		return nil, err
	}
	client := keyOf(q, false) + string(q.From.AsSlice())
	for _, element := range list {
		if element.Key <= client && client <= cmp.Or(element.KeyEnd, element.Key) {
			return nil, nil
		}
	}
	path.problem("the source ranges of service %s leave %s out", label, q.From)
	return &Service{Label: label, Table: r.String(), Map: setRanged, Action: actionDrop}, nil
}

// unused finds the rules that refuse what no service serves.
func (r reader) unused(ctx context.Context, rules *ruleset, q Question, path *Path) (*Service, error) {
	_, label, found, err := r.element(ctx, setAddress, string(q.To.Addr().AsSlice()))
	if err != nil {
		return nil, err
	}
	if found {
		if label == nameless {
			label, err = r.owner(ctx, q)
		}
		return noPort(Service{Label: label, Table: r.String(), Map: setAddress}, q, path), err
	}
	_, label, found, err = r.element(ctx, setElsewhere, string(q.To.Addr().AsSlice()))
	if err != nil {
		return nil, err
	}
	if found {
		path.problem("service %s is another proxy's", label)
		return nil, nil
	}
	if contains(rules.services, q.To.Addr()) {
		return noService(Service{Table: r.String()}, q, path), nil
	}
	return nil, nil
}

// owner names the service that has the address at other ports, from the sets of the backend IPVS.
func (r reader) owner(ctx context.Context, q Question) (string, error) {
	for _, set := range []string{"virtual-server", "refused", "dropped"} {
		list, err := r.all(ctx, set, string(q.To.Addr().AsSlice()))
		if err != nil {
			return "", err
		}
		for _, element := range list {
			service, _, _ := strings.Cut(element.Comment, ":")
			return service, nil
		}
	}
	return nameless, nil
}

func noPort(s Service, q Question, path *Path) *Service {
	path.problem("service %s has no port %d/%s: connections are refused", s.Label, q.To.Port(), q.Protocol)
	s.Action = actionRefuse
	return &s
}

func noService(s Service, q Question, path *Path) *Service {
	path.problem("%s is in the network of services, but no service has it: connections are refused", q.To.Addr())
	s.Action = actionRefuse
	return &s
}

// withoutEndpoints says why a service does not forward.
func (s *Service) withoutEndpoints(action string, path *Path) {
	s.Action = action
	switch action {
	case actionDrop:
		path.problem("service %s has no ready endpoint on this node, and its traffic policy drops the packet", s.Label)
	case actionRefuse:
		path.problem("service %s has no ready endpoint: connections are refused", s.Label)
	}
}

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

// iptablesFamily names the family as iptables does.
func iptablesFamily(family nft.Family) iptables.Family {
	if family == nft.IPv6 {
		return iptables.IPv6
	}
	return iptables.IPv4
}
