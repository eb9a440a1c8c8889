// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"bytes"
	"net/netip"

	"eastwest/internal/dns/wire"
	"eastwest/internal/table"
)

type nodeKind int

const (
	elsewhere  nodeKind = iota // not a name of this zone
	missing                    // NXDOMAIN
	bare                       // exists and has no records of its own
	apex                       // of the cluster domain or of a reverse zone
	nameserver                 // ns.dns.DOMAIN
	version                    // dns-version.DOMAIN
	pod
	serviceName  // NAME.NAMESPACE.svc.DOMAIN
	endpointName // HOST.NAME.NAMESPACE.svc.DOMAIN
	portName     // _PORT._PROTO.NAME.NAMESPACE.svc.DOMAIN
	address      // a reverse name that leads somewhere
)

// node is what a name stands for. It does not outlive the query that it was located for.
type node struct {
	kind        nodeKind
	apex        int // label of the query where the zone begins
	base        int // label where the service's own name begins
	service     *service
	hosts       []host
	port, proto []byte
	addr        netip.Addr
	back        backlinks
}

// locate finds out what the name of a query stands for.
func (z *Zone) locate(rec *records, q *wire.Query) node {
	if z.inside(q) {
		return z.locateName(rec, q)
	}
	return z.locateReverse(rec, q)
}

// inside reports whether the name is the cluster domain or below it.
func (z *Zone) inside(q *wire.Query) bool {
	return q.Labels >= z.labels && bytes.Equal(q.From(q.Labels-z.labels), z.domain)
}

func (z *Zone) locateName(rec *records, q *wire.Query) node {
	at := q.Labels - z.labels
	n := node{kind: missing, apex: at}
	if at == 0 {
		n.kind = apex
		return n
	}
	switch string(q.Label(at - 1)) {
	case "svc":
		return z.locateService(rec, q, n)
	case "pod":
		return z.locatePod(rec, q, n)
	case "dns":
		if at == 1 {
			n.kind = bare
		} else if at == 2 && string(q.Label(0)) == "ns" {
			n.kind = nameserver
		}
	case "dns-version":
		if at == 1 {
			n.kind = version
		}
	}
	return n
}

func (z *Zone) locateService(rec *records, q *wire.Query, n node) node {
	below := n.apex - 1 // labels left of svc
	switch below {
	case 0:
		n.kind = bare
		return n
	case 1:
		if _, ok := rec.namespaces.get(borrowed(q.Span(0, 1))); ok {
			n.kind = bare
		}
		return n
	}
	s, ok := rec.services.get(borrowed(q.Span(below-2, below)))
	if !ok || s.empty() {
		return n
	}
	n.service, n.base = s, below-2
	switch below {
	case 2:
		n.kind = serviceName
	case 3:
		n.locateBelow(q.Label(0))
	case 4:
		n.locatePort(q.Label(0), q.Label(1))
	}
	return n
}

// locateBelow finds the name of an endpoint, or the empty _PROTO between a service and its ports.
func (n *node) locateBelow(label []byte) {
	if hosts := n.service.find(label); len(hosts) > 0 {
		n.kind, n.hosts = endpointName, hosts
		return
	}
	if len(label) > 1 && label[0] == '_' {
		n.proto = label[1:]
		if n.service.hasPort(nil, n.proto) {
			n.kind = bare
		}
	}
}

func (n *node) locatePort(name, proto []byte) {
	if len(name) < 2 || len(proto) < 2 || name[0] != '_' || proto[0] != '_' {
		return
	}
	n.port, n.proto = name[1:], proto[1:]
	if n.service.hasPort(n.port, n.proto) {
		n.kind = portName
	}
}

// hasPort reports whether the service has a named port of that name (nil for any) and protocol.
func (s *service) hasPort(name, proto []byte) bool {
	if s.cname != nil {
		return false
	}
	if !s.headless {
		return anyPort(s.ports, name, proto)
	}
	for i := range s.hosts {
		if anyPort(s.hosts[i].Ports, name, proto) {
			return true
		}
	}
	return false
}

func anyPort(ports []table.NamePort, name, proto []byte) bool {
	for i := range ports {
		if ports[i].Name != "" && matches(&ports[i], name, proto) {
			return true
		}
	}
	return false
}

// matches reports whether a port is meant; nil stands for any name or protocol.
func matches(p *table.NamePort, name, proto []byte) bool {
	return (name == nil || p.Name == string(name)) && (proto == nil || p.Protocol == string(proto))
}

func (z *Zone) locatePod(rec *records, q *wire.Query, n node) node {
	below := n.apex - 1
	if below == 0 {
		n.kind = bare
		return n
	}
	if z.cfg.Pods == PodsDisabled || below > 2 {
		return n
	}
	ns, ok := rec.namespaces.get(borrowed(q.Span(below-1, below)))
	if !ok {
		return n
	}
	if below == 1 {
		n.kind = bare
		return n
	}
	if n.addr, ok = podAddress(q.Label(0)); !ok {
		return n
	}
	if z.cfg.Pods == PodsVerified {
		if !ns.pods[n.addr] {
			return n
		}
	}
	n.kind = pod
	return n
}
