// SPDX-License-Identifier: Apache-2.0

package table

import "net/netip"

// Name is what DNS answers for one Service; its key is namespace/name. Rules: Kubernetes DNS specification 1.1.0.
//
// A row of Kind Namespace, whose key is namespace/ with nothing behind the slash, says that the namespace exists even
// where no service is in it, which pod records depend on. Its Endpoints are the pods of the namespace where pod records
// are to be verified, and empty otherwise.
type Name struct {
	Object       Object
	ClusterIPs   []netip.Addr   // of the families that the Service has; empty for headless and ExternalName
	Ports        []NamePort     // of the Service; SRV records come from the named ones
	Headless     bool           // answer with the endpoints
	ExternalName string         // answer with a CNAME to this name, without trailing dot
	Endpoints    []NameEndpoint // that may be answered with, sorted by address; those of a Service that is not headless have names of their own only
	TTL          uint32         // seconds
}

// NamePort is a named or unnamed port of a Service or of an endpoint.
type NamePort struct {
	Name     string // empty for an unnamed port
	Protocol string // tcp, udp or sctp, lower case as in DNS labels
	Port     uint16
}

// NameEndpoint is one address behind a Service. There are more of them than of anything else, so it is kept small.
type NameEndpoint struct {
	Hostname string // the endpoint's hostname, or empty: then its name is made from the address
	Addr     netip.Addr
	Ports    []NamePort
	Pod      string // its name, in the namespace of the row; empty when it is none
}
