// SPDX-License-Identifier: Apache-2.0

package explain

import (
	"cmp"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"eastwest/internal/kernel/forward"
)

// Path is the way of a packet. Fields are only ever added to its JSON form.
type Path struct {
	From     Source   `json:"from"`
	To       string   `json:"to"`                // address:port/protocol
	Service  *Service `json:"service,omitempty"` // the rule that takes the packet, when one does
	Targets  []Target `json:"targets"`           // where it may end up, each as likely as the others but for its weight
	Problems []string `json:"problems,omitempty"`
}

// Kinds of Source.
const (
	FromPod     = "pod"     // behind a veth of this node
	FromNode    = "node"    // this node itself
	FromOutside = "outside" // reached over a route
)

// Source is where the packet comes from.
type Source struct {
	Kind    string        `json:"kind"`
	Address string        `json:"address,omitempty"`
	Link    *forward.Link `json:"link,omitempty"` // that it comes in on
}

// Service is the rule that takes the packet.
type Service struct {
	Label         string         `json:"label"`           // namespace/name[:port], from the comment of the element or rule
	Table         string         `json:"table"`           // of nftables, family and name, or of iptables
	Map           string         `json:"map,omitempty"`   // whose element matches; empty for the rule about the whole service network
	Chain         string         `json:"chain,omitempty"` // the same, of iptables
	VirtualServer *VirtualServer `json:"virtualServer,omitempty"`
	Action        string         `json:"action"` // forward, refuse, drop
	Endpoints     int            `json:"endpoints"`
	LocalSocket   bool           `json:"localSocket,omitempty"` // a socket of this node that is bound to the address goes first

	targets []Target
}

// VirtualServer is the one of IPVS that chooses the endpoint.
type VirtualServer struct {
	Address   string `json:"address"` // address:port; an alias where clients are told apart
	Scheduler string `json:"scheduler"`
	Leaving   int    `json:"leaving,omitempty"` // destinations of weight 0, which keep their connections and get no other
}

// Target is a place where the packet may end up: an endpoint of the service, or the destination itself.
type Target struct {
	Address     string        `json:"address"` // endpoint address:port
	Map         string        `json:"map,omitempty"`
	Chain       string        `json:"chain,omitempty"`
	Weight      int           `json:"weight,omitempty"` // that IPVS gives it
	Route       string        `json:"route,omitempty"`  // destination of the route that matches
	Via         string        `json:"via,omitempty"`
	Device      string        `json:"device,omitempty"`
	Link        *forward.Link `json:"link,omitempty"` // of a pod on this node
	Node        bool          `json:"node,omitempty"` // this node itself
	Unreachable bool          `json:"unreachable,omitempty"`
	Missing     string        `json:"missingRoute,omitempty"` // the network that lacks a route

	addr netip.Addr
}

func (p *Path) problem(format string, args ...any) {
	p.Problems = append(p.Problems, fmt.Sprintf(format, args...))
}

// String returns one line for each step, in columns.
func (p *Path) String() string {
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "from\t%s\t%s\n", strings.TrimSpace(p.From.Kind+" "+p.From.Address), describe(p.From.Link))
	if p.Service != nil {
		fmt.Fprintf(w, "service\t%s\t%s\n", p.To, p.Service)
	} else {
		fmt.Fprintf(w, "to\t%s\tno service has this address: not translated\n", p.To)
	}
	for _, t := range p.Targets {
		weight := ""
		if t.Weight > 0 {
			weight = fmt.Sprintf("weight %d, ", t.Weight)
		}
		fmt.Fprintf(w, "%s\t%s\t%s%s\n", t.title(), t.Address, weight, t)
	}
	for _, problem := range p.Problems {
		fmt.Fprintf(w, "problem\t%s\n", problem)
	}
	w.Flush()
	return out.String()
}

// String says which rule takes the packet and what it does.
func (s *Service) String() string {
	where := "table " + s.Table
	if s.Map != "" {
		where += ", map " + s.Map
	}
	if s.Chain != "" {
		where += ", chain " + s.Chain
	}
	text := fmt.Sprintf("%s (%s): ", cmp.Or(s.Label, "no service"), where)
	switch {
	case s.Action != "forward":
		text += s.Action
	case s.LocalSocket && s.Endpoints == 0:
		return text + "a socket of this node that is bound to the address"
	case s.VirtualServer != nil:
		text += s.VirtualServer.describe(s.Endpoints)
	case s.Endpoints == 1:
		text += "1 endpoint"
	default:
		text += fmt.Sprintf("%d endpoints, each with probability 1/%d", s.Endpoints, s.Endpoints)
	}
	if s.LocalSocket {
		text += "; a socket of this node bound to the address goes first"
	}
	return text
}

// describe says how the virtual server chooses among so many endpoints.
func (v VirtualServer) describe(endpoints int) string {
	text := fmt.Sprintf("virtual server %s, %d endpoints by %s", v.Address, endpoints, v.Scheduler)
	if endpoints == 1 {
		text = fmt.Sprintf("virtual server %s, 1 endpoint", v.Address)
	}
	if v.Leaving > 0 {
		text += fmt.Sprintf(", and %d that keep their connections and get no other", v.Leaving)
	}
	return text
}

func (t Target) title() string {
	if t.Map == "" && t.Chain == "" && t.Weight == 0 {
		return "route"
	}
	return "endpoint"
}

// String says which way leads to the target.
func (t Target) String() string {
	switch {
	case t.Missing != "":
		return "unreachable: no route to " + t.Missing
	case t.Unreachable:
		return "unreachable"
	case t.Node:
		return "this node itself"
	case t.Link != nil:
		return fmt.Sprintf("route %s dev %s, a pod of this node: %s", t.Route, t.Device, describe(t.Link))
	case t.Via != "":
		return fmt.Sprintf("route %s via %s dev %s", t.Route, t.Via, t.Device)
	}
	return fmt.Sprintf("route %s dev %s", t.Route, t.Device)
}

// describe names a link and, of a veth, its other end.
func describe(l *forward.Link) string {
	if l == nil {
		return ""
	}
	text := fmt.Sprintf("%s %s (index %d)", l.Kind, l.Name, l.Index)
	if l.Peer == nil {
		return text
	}
	text += fmt.Sprintf(" ⇄ %s (index %d)", cmp.Or(l.Peer.Name, "its peer"), l.Peer.Index)
	if l.Peer.Netns != "" {
		text += " in " + filepath.Base(l.Peer.Netns)
	}
	return text
}
