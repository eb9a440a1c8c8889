// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"net/netip"

	"eastwest/internal/table"
)

// Service is what a node needs of an API Service.
type Service struct {
	Namespace, Name     string
	ClusterIPs          []netip.Addr
	Headless            bool   // clusterIP None
	ExternalName        string // without trailing dot; set only for type ExternalName
	Ports               []Port
	ExternalIPs         []netip.Addr
	LoadBalancerIPs     []netip.Addr   // of mode VIP; those of mode Proxy are left out
	Announced           bool           // LoadBalancerIPs are of the server's pool, so that a node announces them
	SourceRanges        []netip.Prefix // clients of LoadBalancerIPs; nil is everyone, empty is nobody
	AffinitySeconds     uint32         // 0 is no session affinity
	InternalLocal       bool           // internalTrafficPolicy Local
	ExternalLocal       bool           // externalTrafficPolicy Local
	HealthCheckNodePort uint16
	PublishNotReady     bool   // publishNotReadyAddresses
	Distribution        string // trafficDistribution
	Unproxied           bool   // another proxy serves it, by its label service.kubernetes.io/service-proxy-name
	IPv4, IPv6          bool   // ipFamilies
}

// Key returns namespace/name.
func (s *Service) Key() string { return s.Namespace + "/" + s.Name }

// Port is a port of a Service.
type Port struct {
	Name     string // empty for the only port
	Protocol table.Protocol
	Port     uint16
	NodePort uint16 // 0 is none
}
