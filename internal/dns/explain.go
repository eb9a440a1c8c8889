// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"fmt"
	"net/netip"
	"strings"

	mdns "github.com/miekg/dns"

	"eastwest/internal/dns/wire"
	"eastwest/internal/table"
)

// Explanation says what the zone answers to a question, and why.
type Explanation struct {
	Rcode   string // as in RFC 1035: NOERROR, NXDOMAIN, SERVFAIL
	Ours    bool   // false: the name is none of the zone, and is forwarded
	Records []Explained
}

// Explained is one record of an answer.
type Explained struct {
	Record string       // as in a zone file
	Object table.Object // whose row made it; empty for records that no row makes (SOA, pod records)
	Target table.Object // the Pod behind it, when there is one
}

// Explain answers a question in memory and names the object that each record came from. The target of an alias is not
// followed. A name that cannot be written in DNS is an error.
func (z *Zone) Explain(name string, qtype uint16) (Explanation, error) {
	packet, err := new(mdns.Msg).SetQuestion(mdns.Fqdn(name), qtype).Pack()
	if err != nil {
		return Explanation{}, fmt.Errorf("explain %q: %w", name, err)
	}
	var c session
	if c.query.Parse(packet) != wire.Good {
		return Explanation{}, fmt.Errorf("explain %q: no valid name", name)
	}
	c.reply.Begin(&c.query, packet, nil, maxTCP)
	o, rcode, target := z.answer(&c.query, &c.reply, 0)
	if o == foreign {
		return Explanation{}, nil
	}
	out := Explanation{Ours: true, Rcode: mdns.RcodeToString[int(rcode)]}
	var n node
	if rec := z.records.Load(); rec != nil {
		n = z.locate(rec, &c.query)
	}
	if o == alias {
		record := fmt.Sprintf("%s\t%d\tIN\tCNAME\t%s", wire.Text(c.query.Name()), n.service.ttl, wire.Text(target))
		out.Records = []Explained{{Record: record, Object: n.service.object}}
		return out, nil
	}
	var m mdns.Msg
	if err := m.Unpack(c.reply.Finish(&c.query, rcode, flags(true), maxUDP)); err != nil {
		return Explanation{}, fmt.Errorf("explain %q: read own answer: %w", name, err)
	}
	for _, rr := range m.Answer {
		out.Records = append(out.Records, z.origin(&n, rr))
	}
	return out, nil
}

// origin finds the row, and the endpoint, that made a record of the node.
func (z *Zone) origin(n *node, rr mdns.RR) Explained {
	e := Explained{Record: rr.String()}
	if n.service != nil {
		e.Object = n.service.object
		for _, h := range n.service.hosts {
			if h.made(rr) {
				e.Target = z.podOf(n.service, h)
			}
		}
	}
	ptr, ok := rr.(*mdns.PTR)
	for i := range n.back.len() {
		p := n.back.at(i)
		name := wire.Text([]byte(p.service.key)) + "svc."
		if label := p.label(); label != "" {
			name = label + "." + name
		}
		if !ok || !strings.HasPrefix(ptr.Ptr, name) {
			continue
		}
		e.Object = p.service.object
		if p.host >= 0 {
			e.Target = z.podOf(p.service, p.service.hosts[p.host])
		}
	}
	return e
}

// podOf returns the Pod behind a host; the zero Object when there is none. It is looked up in the row: answers do not
// need it.
func (z *Zone) podOf(s *service, h host) table.Object {
	row, _ := z.rows.Load().Get(s.object.Namespace + "/" + s.object.Name)
	for _, e := range row.Endpoints {
		named := e.Hostname == "" || strings.EqualFold(e.Hostname, h.label)
		if e.Pod != "" && e.Addr.Unmap() == h.Addr && named {
			return table.Object{Kind: "Pod", Namespace: s.object.Namespace, Name: e.Pod}
		}
	}
	return table.Object{}
}

// made reports whether a record is about the endpoint.
func (h *host) made(rr mdns.RR) bool {
	switch rr := rr.(type) {
	case *mdns.A:
		a, _ := netip.AddrFromSlice(rr.A)
		return a.Unmap() == h.Addr
	case *mdns.AAAA:
		a, _ := netip.AddrFromSlice(rr.AAAA)
		return a == h.Addr
	case *mdns.SRV:
		return strings.HasPrefix(rr.Target, h.label+".")
	}
	return false
}
