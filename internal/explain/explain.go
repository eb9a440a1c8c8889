// SPDX-License-Identifier: Apache-2.0

// Package explain says which way a packet takes through this node, from what the kernel holds at that moment and from
// nothing else: links, routes and neighbours, and what carries Services: nftables, iptables or IPVS.
//
//	Question ─▶ source (the pod's veth) ─▶ service (rule, map element, chain, virtual server) ─▶ targets (endpoint, route, veth) ─▶ Path
package explain

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"eastwest/internal/kernel/forward"
	"eastwest/internal/kernel/iptables"
	"eastwest/internal/kernel/ipvs"
	"eastwest/internal/kernel/nft"
)

// Kernel is the forwarding state that an explanation reads.
type Kernel interface {
	Route(to netip.Addr, from forward.From) (forward.Route, error)
	Source(to netip.Addr) netip.Addr
	Routes() ([]netip.Prefix, error)
	Link(index int) (forward.Link, error)
	Unanswered(index int, addr netip.Addr) (bool, error)
}

var _ Kernel = (*forward.Reader)(nil)

// Rules is the nftables state that an explanation reads.
type Rules interface {
	List(ctx context.Context, family nft.Family, table string) (string, error)
	Elements(ctx context.Context, family nft.Family, table, set string) ([]nft.Element, error)
}

var _ Rules = (*nft.Conn)(nil)

// Servers is the state of IPVS that an explanation reads.
type Servers interface {
	Servers(ctx context.Context) ([]ipvs.Server, error)
	Destinations(ctx context.Context, of ipvs.Key) ([]ipvs.Destination, error)
}

var _ Servers = (*ipvs.Conn)(nil)

// Chains is the state of iptables that an explanation reads.
type Chains interface {
	Chains(ctx context.Context, family iptables.Family, tables []string, wanted func(chain string) bool) (map[iptables.Chain][]string, error)
}

var _ Chains = (*iptables.Conn)(nil)

// Sources is what may carry Services.
type Sources struct {
	Rules   Rules
	Servers Servers
	Chains  Chains
}

// Explainer answers questions about one node.
type Explainer struct {
	kernel Kernel
	from   Sources
}

// New makes an explainer that reads from kernel and the sources.
func New(kernel Kernel, from Sources) *Explainer { return &Explainer{kernel, from} }

// Explain follows the packet. What is wrong on its way is part of the answer (Path.Problems); an error means that the
// kernel could not be read.
func (e *Explainer) Explain(ctx context.Context, q Question) (*Path, error) {
	path := &Path{To: q.String()}
	from, err := e.source(q, path)
	if err != nil {
		return nil, err
	}
	if !q.From.IsValid() {
		q.From = e.kernel.Source(q.To.Addr())
	}
	carrier, err := e.carrierOf(ctx, familyOf(q.To.Addr()), path)
	if err != nil {
		return nil, err
	}
	if path.Service, err = carrier.follow(ctx, carrier.rules, q, path); err != nil {
		return nil, err
	}
	for _, target := range targetsOf(q, path.Service) {
		if err := e.target(&target, from, carrier.rules, path); err != nil {
			return nil, err
		}
		path.Targets = append(path.Targets, target)
	}
	return path, nil
}

// source finds where the packet comes in: the veth of a pod, another link, or nowhere when it is the node's own.
func (e *Explainer) source(q Question, path *Path) (forward.From, error) {
	if !q.From.IsValid() {
		path.From = Source{Kind: FromNode}
		return forward.From{}, nil
	}
	path.From = Source{Kind: FromOutside, Address: q.From.String()}
	route, err := e.kernel.Route(q.From, forward.From{})
	if errors.Is(err, forward.ErrUnreachable) {
		path.problem("%s is not on this node and no route leads back to it", q.From)
		return forward.From{Addr: q.From}, nil
	}
	if err != nil {
		return forward.From{}, err
	}
	if route.Local {
		path.From.Kind = FromNode
		return forward.From{Addr: q.From}, nil
	}
	link, err := e.kernel.Link(route.Index)
	if err != nil {
		return forward.From{}, err
	}
	path.From.Link = &link
	if link.Peer != nil && !route.Via.IsValid() && route.Destination.IsSingleIP() {
		path.From.Kind = FromPod
	}
	if !link.Up {
		path.problem("link %s, which %s is behind, is down", link.Name, q.From)
	}
	return forward.From{Addr: q.From, Device: link.Name}, nil
}

func targetsOf(q Question, s *Service) []Target {
	if s == nil {
		return []Target{{Address: q.To.String(), addr: q.To.Addr()}}
	}
	return s.targets
}

// target finds the way to one endpoint.
func (e *Explainer) target(t *Target, from forward.From, s *ruleset, path *Path) error {
	route, err := e.kernel.Route(t.addr, from)
	if errors.Is(err, forward.ErrUnreachable) {
		return e.noRoute(t, s, path, "")
	}
	if err != nil {
		// A refusal that is not about routes, such as the reverse path filter's, ends the way just as well.
		t.Unreachable = true
		path.problem("%v", err)
		return nil
	}
	t.Device, t.Route = route.Device, route.Destination.String()
	if route.Via.IsValid() {
		t.Via = route.Via.String()
	}
	if route.Default() && s.isPod(t.addr) {
		return e.noRoute(t, s, path, fmt.Sprintf("; its packets leave by the default route via %s dev %s", t.Via, t.Device))
	}
	if route.Local {
		t.Node = true
		return nil
	}
	return e.lastHop(t, route, path)
}

// noRoute records that an endpoint cannot be reached, with the network that lacks a route.
func (e *Explainer) noRoute(t *Target, s *ruleset, path *Path, instead string) error {
	t.Unreachable = true
	network := netip.PrefixFrom(t.addr, t.addr.BitLen())
	routes, err := e.kernel.Routes()
	if err != nil {
		return err
	}
	if s.isPod(t.addr) {
		network = networkOf(t.addr, s, routes)
	}
	t.Missing = network.String()
	path.problem("no route to %s, so %s is unreachable%s", network, t.Address, instead)
	return nil
}

// networkOf guesses the pod network of an address: nodes' pod networks have one size, that of the routes to the others;
// where there is none, the size is a node's default.
func networkOf(addr netip.Addr, s *ruleset, routes []netip.Prefix) netip.Prefix {
	bits := 24
	if addr.Is6() {
		bits = 64
	}
	for _, r := range routes {
		if r.Addr().Is4() == addr.Is4() && s.isPod(r.Addr()) {
			bits = r.Bits()
		}
	}
	network, err := addr.Prefix(bits)
	if err != nil {
		return netip.PrefixFrom(addr, addr.BitLen())
	}
	return network
}

func (e *Explainer) lastHop(t *Target, route forward.Route, path *Path) error {
	link, err := e.kernel.Link(route.Index)
	if err != nil {
		return err
	}
	if !link.Up {
		path.problem("link %s towards %s is down", link.Name, t.Address)
	}
	if link.Peer != nil && !route.Via.IsValid() && route.Destination.IsSingleIP() {
		t.Link = &link
		return nil
	}
	hop := t.addr
	if route.Via.IsValid() {
		hop = route.Via
	}
	silent, err := e.kernel.Unanswered(route.Index, hop)
	if err != nil {
		return err
	}
	if silent {
		path.problem("next hop %s on %s does not answer", hop, link.Name)
	}
	return nil
}
