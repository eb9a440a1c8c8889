// SPDX-License-Identifier: Apache-2.0

package table

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Service is everything that a node must know to carry the traffic of one API Service; its key is namespace/name.
// Every decision (traffic policy, topology, terminating endpoints, masquerade) is already taken in it.
type Service struct {
	Object    Object
	Frontends []Frontend // sorted by Compare, no two with the same place (kind, view, address, protocol, port)
	// Hairpin are the addresses of the endpoints on this node: a pod that reaches itself through the Service is
	// masqueraded, or its own answer would bypass the translation. Sorted.
	Hairpin []netip.Addr
	// Addresses are the virtual addresses of the Service: a port of them that no frontend serves is refused. Sorted.
	Addresses []netip.Addr
	// Elsewhere are virtual addresses that another proxy serves: nothing of them is refused. A Service that has any has nothing
	// else. Sorted.
	Elsewhere []netip.Addr
	// HealthCheck is the port at which load balancers ask whether this node has endpoints; 0 is none.
	HealthCheck    uint16
	LocalEndpoints Count // how many ready endpoints this node has; counted only where HealthCheck is set
}

// Count is a number for each family.
type Count struct{ IPv4, IPv6 int }

// Key returns namespace/name.
func (s Service) Key() string { return s.Object.Namespace + "/" + s.Object.Name }

// Kind says which kind of address a frontend has.
type Kind uint8

// The kinds of frontends.
const (
	ClusterIP    Kind = iota // virtual address inside the cluster
	NodePort                 // a port on every address of this node; the frontend has no address of its own
	ExternalIP               // spec.externalIPs: traffic that somebody routes to a node
	LoadBalancer             // status.loadBalancer.ingress of mode VIP
)

// String returns the name that the API uses.
func (k Kind) String() string {
	return [...]string{"ClusterIP", "NodePort", "ExternalIP", "LoadBalancer"}[k]
}

// View says which clients see a frontend.
type View uint8

// The views. A frontend with external traffic policy Local exists once for each.
const (
	Everyone View = iota
	Outside       // clients that are neither pods of the cluster nor this node; asked before Everyone
)

// Action says what happens to a connection to a frontend.
type Action uint8

// The actions.
const (
	Forward Action = iota // to one of the endpoints, each with the same probability
	Reject                // refused at once: TCP reset, ICMP port unreachable
	Drop                  // silently: another node may serve it (external traffic policy Local)
)

// String returns the name in lower case.
func (a Action) String() string { return [...]string{"forward", "reject", "drop"}[a] }

// Masquerade says when a connection gets this node's address as its source. Hairpin connections always do.
type Masquerade uint8

// When to masquerade.
const (
	Never       Masquerade = iota
	FromOutside            // when the client is no pod of the cluster
	Always
)

// String returns the name in lower case.
func (m Masquerade) String() string { return [...]string{"never", "outside", "always"}[m] }

// Protocol is an IP protocol number.
type Protocol uint8

// The protocols that a Service may have.
const (
	TCP  Protocol = 6
	UDP  Protocol = 17
	SCTP Protocol = 132
)

// String returns the name in lower case, as in DNS labels and nft listings.
func (p Protocol) String() string {
	switch p {
	case TCP:
		return "tcp"
	case UDP:
		return "udp"
	case SCTP:
		return "sctp"
	}
	return strconv.Itoa(int(p))
}

// Frontend is one address and port that clients use, and what becomes of their connections.
type Frontend struct {
	Kind     Kind
	View     View
	Addr     netip.Addr // of a NodePort the unspecified address of its family
	Protocol Protocol
	Port     uint16
	PortName string // of the Service's port, empty when it has none

	Action    Action
	Local     bool             // traffic policy Local chose the endpoints
	Endpoints []netip.AddrPort // sorted, no duplicates, of Addr's family; not empty exactly when Action is Forward
	// Draining are endpoints that get no new connections here but keep those that they have: of UDP those that still serve,
	// of other protocols, which end their connections themselves, all that the Service lists. Sorted.
	Draining        []netip.AddrPort
	Masquerade      Masquerade
	AffinitySeconds uint32         // a client's later connections go to the same endpoint this long; 0 is no affinity
	SourceRanges    []netip.Prefix // clients that are allowed, sorted, none within another; nil is everyone
	// LocalSocket: a socket of this node that is bound to the address takes the packets as they are, without
	// translation or connection tracking; the endpoints serve while there is none.
	LocalSocket bool
}

// Label returns what nft comments and explanations call a frontend of a service: namespace/name:port.
func (s Service) Label(f Frontend) string {
	label := s.Object.Namespace + "/" + s.Object.Name
	if f.PortName != "" {
		label += ":" + f.PortName
	}
	return label
}

// Header returns the titles of the columns that Columns fills.
func (Service) Header() []string {
	return []string{"SERVICE", "KIND", "FRONTEND", "ACTION", "MASQUERADE", "ENDPOINTS"}
}

// Columns returns one line for each frontend.
func (s Service) Columns() [][]string {
	var lines [][]string
	for _, f := range s.Frontends {
		lines = append(lines, []string{s.Label(f), f.Kind.String(), f.String(), f.Action.String(), f.Masquerade.String(), f.endpoints()})
	}
	return lines
}

// String returns address:port/protocol, and the view and extras when there are any.
func (f Frontend) String() string {
	text := fmt.Sprintf("%s/%s", netip.AddrPortFrom(f.Addr, f.Port), f.Protocol)
	if f.Kind == NodePort {
		text = fmt.Sprintf("%d/%s", f.Port, f.Protocol)
		if f.Addr.Is6() {
			text += " IPv6"
		}
	}
	if f.View == Outside {
		text += " from outside"
	}
	if f.AffinitySeconds > 0 {
		text += fmt.Sprintf(" sticky %ds", f.AffinitySeconds)
	}
	if f.LocalSocket {
		text += " local socket first"
	}
	return text
}

func (f Frontend) endpoints() string {
	texts := make([]string, len(f.Endpoints))
	for i, e := range f.Endpoints {
		texts[i] = e.String()
	}
	return strings.Join(texts, ",")
}

// Compare orders frontends by kind, view, address, protocol and port.
func (f Frontend) Compare(g Frontend) int {
	for _, c := range [...]int{
		int(f.Kind) - int(g.Kind), int(f.View) - int(g.View), f.Addr.Compare(g.Addr),
		int(f.Protocol) - int(g.Protocol), int(f.Port) - int(g.Port),
	} {
		if c != 0 {
			return c
		}
	}
	return 0
}
