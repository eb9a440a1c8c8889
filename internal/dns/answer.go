// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"eastwest/internal/dns/wire"
)

// outcome is what the zone did with a query.
type outcome int

const (
	foreign  outcome = iota // not a name of the zone: nothing was written
	answered                // the reply's records and code are complete
	alias                   // the name is an alias whose target has to be looked up: nothing was written
)

// versionTTL is the one that the specification's example has: the version never changes while a server runs.
const versionTTL = 28800

// answer writes the records that answer q. turn varies from query to query and rotates them. The target of an alias is
// returned in wire form.
func (z *Zone) answer(q *wire.Query, r *wire.Reply, turn uint32) (o outcome, rcode uint16, target []byte) {
	rec := z.records.Load()
	if rec == nil {
		return z.unready(q)
	}
	n := z.locate(rec, q)
	switch n.kind {
	case elsewhere:
		return foreign, 0, nil
	case missing:
		z.soa(q, r, n.apex, wire.Authority)
		return answered, wire.NXDomain, nil
	}
	if n.service != nil && n.service.cname != nil {
		if q.Type != wire.TypeCNAME && q.Type != wire.TypeANY {
			return alias, 0, n.service.cname
		}
		writeCNAME(r, n.service)
	} else {
		z.write(rec, q, r, &n, turn)
	}
	if len(r.Buf) == q.End && !r.Truncated() {
		z.soa(q, r, n.apex, wire.Authority)
	}
	return answered, wire.NoError, nil
}

// unready says that nothing is known yet about names that would be ours.
func (z *Zone) unready(q *wire.Query) (outcome, uint16, []byte) {
	if z.inside(q) {
		return answered, wire.ServFail, nil
	}
	if name, ok := readReverse(q); ok {
		if _, ours := z.reverseZone(name.address(), name.parts); ours {
			return answered, wire.ServFail, nil
		}
	}
	return foreign, 0, nil
}

// write writes the records of a name for the query's type; nothing if there are none.
func (z *Zone) write(rec *records, q *wire.Query, r *wire.Reply, n *node, turn uint32) {
	switch n.kind {
	case apex:
		z.writeApex(rec, q, r, n)
	case version:
		if q.Type == wire.TypeTXT || q.Type == wire.TypeANY {
			writeVersion(r)
		}
	case nameserver:
		for _, a := range z.cfg.Nameservers {
			writeAddress(q, r, a.Unmap(), z.cfg.TTL)
		}
	case pod:
		writeAddress(q, r, n.addr, z.cfg.TTL)
	case address:
		if q.Type == wire.TypePTR || q.Type == wire.TypeANY {
			z.writePointers(r, n.back, turn)
		}
	case serviceName:
		writeService(q, r, n, turn)
	case endpointName:
		writeHosts(q, r, n, n.hosts, turn)
	case portName:
		if n.service.headless {
			writeHosts(q, r, n, n.service.hosts, turn)
		} else {
			writeService(q, r, n, turn)
		}
	}
}

// writeService answers for a service's own name or for one of its ports.
func writeService(q *wire.Query, r *wire.Reply, n *node, turn uint32) {
	s := n.service
	switch q.Type {
	case wire.TypeA:
		writePrepared(r, s.v4, lenA, turn)
	case wire.TypeAAAA:
		writePrepared(r, s.v6, lenAAAA, turn)
	case wire.TypeANY: // one kind of records is enough (RFC 8482)
		if len(s.v4) > 0 {
			writePrepared(r, s.v4, lenA, turn)
		} else {
			writePrepared(r, s.v6, lenAAAA, turn)
		}
	case wire.TypeSRV:
		if s.headless {
			writeHostSRV(q, r, n, s.hosts, turn)
		} else {
			writeServiceSRV(q, r, n, turn)
		}
	}
}

// writePrepared appends records of one size, beginning with a different one each turn; those that do not fit are left out.
func writePrepared(r *wire.Reply, records []byte, size int, turn uint32) {
	n := len(records) / size
	if n == 0 {
		return
	}
	fit := min(n, max(r.Room(), 0)/size)
	if fit < n {
		r.Truncate()
	}
	first := int(turn%uint32(n)) * size
	head := min(len(records)-first, fit*size)
	r.Buf = append(r.Buf, records[first:first+head]...)
	r.Buf = append(r.Buf, records[:fit*size-head]...)
	r.Count(wire.Answer, fit)
}

func writeCNAME(r *wire.Reply, s *service) {
	if !r.Fits(12 + len(s.cname)) {
		r.Truncate()
		return
	}
	r.Head(wire.HeaderLen, wire.TypeCNAME, s.ttl, len(s.cname))
	r.Buf = append(r.Buf, s.cname...)
	r.Count(wire.Answer, 1)
}

func writeVersion(r *wire.Reply) {
	const text = "1.1.0" // of the specification, not of this program
	r.Head(wire.HeaderLen, wire.TypeTXT, versionTTL, 1+len(text))
	r.Buf = append(append(r.Buf, byte(len(text))), text...)
	r.Count(wire.Answer, 1)
}
