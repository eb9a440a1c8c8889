// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"net/netip"
	"time"

	"eastwest/internal/table"
)

// Slice is what a node needs of an EndpointSlice of address type IPv4 or IPv6.
type Slice struct {
	Namespace, Name string
	Service         string // the name of its Service, from the label kubernetes.io/service-name
	IPv6            bool
	Unproxied       bool // for DNS alone: no proxy forwards to its endpoints, by its labels
	Ports           []SlicePort
	Endpoints       []Endpoint
	Triggered       time.Time // when what the slice says of last happened to a pod or Service; zero when it does not tell
}

// Key returns namespace/name of the slice itself.
func (s *Slice) Key() string { return s.Namespace + "/" + s.Name }

// ServiceKey returns namespace/name of the slice's Service.
func (s *Slice) ServiceKey() string { return s.Namespace + "/" + s.Service }

// SlicePort is a port that all endpoints of a slice serve.
type SlicePort struct {
	Name     string
	Protocol table.Protocol
	Port     uint16
}

// Endpoint is one backend of a slice.
type Endpoint struct {
	Addrs       []netip.Addr // never empty; all name the same endpoint, the first is used
	Ready       bool
	Serving     bool // ready, or terminating and still answering
	Terminating bool
	Hostname    string
	Node        string // empty when unknown
	Pod         string // its name, in the slice's namespace; empty when it is none
	Hints       *Hints // nil when there are none
}

// Hints name the zones and nodes that an endpoint is meant for. They stand apart, because few endpoints have any and
// there are many endpoints.
type Hints struct{ Zones, Nodes []string }

// ZoneHints returns the zones that the endpoint is meant for.
func (e *Endpoint) ZoneHints() []string {
	if e.Hints == nil {
		return nil
	}
	return e.Hints.Zones
}

// NodeHints returns the nodes that the endpoint is meant for.
func (e *Endpoint) NodeHints() []string {
	if e.Hints == nil {
		return nil
	}
	return e.Hints.Nodes
}
