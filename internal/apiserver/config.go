// SPDX-License-Identifier: Apache-2.0

// Package apiserver assembles the Kubernetes API: Kubernetes' own kinds, defaults, validation and storage from
// k8s.io/kubernetes, with the allocation of virtual IPs that is ours (services), over one etcd.
//
//	client ─TLS─▶ aggregator ─▶ native kinds ─▶ custom resources ─▶ 404
//	                                 │
//	                                 ├─ services/ takes IPAddress objects
//	                                 └─ etcd
package apiserver

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"

	"go.etcd.io/etcd/client/v3/kubernetes"

	"eastwest/internal/pki"
)

// Config says what an API server serves and where. Files are read once, at New.
type Config struct {
	BindAddress      netip.Addr     // to listen on; the unspecified address for all
	AdvertiseAddress netip.Addr     // at which the other nodes reach this server
	Port             uint16         // TLS; 6443 by convention
	ServiceCIDRs     []netip.Prefix // one, or one of each family; the first is the primary family
	NodePorts        PortRange
	ClusterDomain    string   // cluster.local by convention
	Etcd             []string // endpoints, unix:///… or https://…
	EtcdCA           string   // PEM file, for https endpoints
	EtcdClient       pki.Pair // for https endpoints

	// EtcdHere returns a new client of an etcd in this process, the one at Etcd; nil when etcd is elsewhere. Run must have
	// ended before that etcd is closed.
	EtcdHere func() *kubernetes.Client

	Credentials Credentials
	Log         *slog.Logger
}

// PortRange is a range of ports, both ends included.
type PortRange struct{ First, Last uint16 }

// Credentials names the files with which the server proves who it is and recognises others.
type Credentials struct {
	Serving           pki.Pair // presented to clients
	ServingCA         string   // signs it
	ClientCA          string   // signs clients and nodes
	KubeletClient     pki.Pair // presented to kubelets
	FrontProxyCA      string
	FrontProxyClient  pki.Pair // presented to aggregated API servers
	ServiceAccountKey string   // private key that signs tokens
	ServiceAccountPub string
}

func (c Config) validate() error {
	var errs []error
	if !c.AdvertiseAddress.IsValid() || c.AdvertiseAddress.IsUnspecified() {
		errs = append(errs, fmt.Errorf("advertise address %s: must be an address that nodes can reach", c.AdvertiseAddress))
	}
	if len(c.ServiceCIDRs) == 0 || len(c.ServiceCIDRs) > 2 {
		errs = append(errs, fmt.Errorf("service CIDRs %v: give one, or one of each IP family", c.ServiceCIDRs))
	}
	if len(c.ServiceCIDRs) == 2 && c.ServiceCIDRs[0].Addr().Is4() == c.ServiceCIDRs[1].Addr().Is4() {
		errs = append(errs, fmt.Errorf("service CIDRs %v: two must be of different IP families", c.ServiceCIDRs))
	}
	for _, cidr := range c.ServiceCIDRs {
		if hostBits := cidr.Addr().BitLen() - cidr.Bits(); hostBits < 3 || hostBits > 64 {
			errs = append(errs, fmt.Errorf("service CIDR %s: must hold at least 8 addresses, and no more than an IPv6 /64", cidr))
		}
	}
	if c.NodePorts.First == 0 || c.NodePorts.Last < c.NodePorts.First {
		errs = append(errs, fmt.Errorf("node ports %d-%d: not a range of ports", c.NodePorts.First, c.NodePorts.Last))
	}
	if len(c.Etcd) == 0 {
		errs = append(errs, errors.New("no etcd endpoint"))
	}
	return errors.Join(errs...)
}
