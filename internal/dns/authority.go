// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"encoding/binary"

	"eastwest/internal/dns/wire"
)

// Timers of the SOA record; no secondary server uses them.
const (
	soaRefresh = 7200
	soaRetry   = 1800
	soaExpire  = 86400
)

// soa appends the SOA record of the zone that begins at a label of the query. Its TTL and its last field both are how
// long a negative answer may be kept (RFC 2308).
func (z *Zone) soa(q *wire.Query, r *wire.Reply, apex int, section wire.Section) {
	mname, rname := "\x02ns\x03dns", "\x0ahostmaster"
	size := len(mname) + len(rname) + 2*len(z.domain) + 20
	if !r.Fits(12 + size) {
		r.Truncate()
		return
	}
	r.Head(q.Offset(apex), wire.TypeSOA, z.cfg.NegativeTTL, size)
	r.Buf = append(append(r.Buf, mname...), z.domain...)
	r.Buf = append(append(r.Buf, rname...), z.domain...)
	for _, v := range [...]uint32{z.serial.Load(), soaRefresh, soaRetry, soaExpire, z.cfg.NegativeTTL} {
		r.Buf = binary.BigEndian.AppendUint32(r.Buf, v)
	}
	r.Count(section, 1)
}

func (z *Zone) writeApex(rec *records, q *wire.Query, r *wire.Reply, n *node) {
	switch q.Type {
	case wire.TypeSOA, wire.TypeANY:
		z.soa(q, r, n.apex, wire.Answer)
	case wire.TypeNS:
		z.writeNS(rec, r)
	}
}

// writeNS answers with the name of the service whose address the nameserver has, or with ns.dns.DOMAIN while there is
// no such service, and adds the addresses.
func (z *Zone) writeNS(rec *records, r *wire.Reply) {
	name := "\x02ns\x03dns"
	for _, a := range z.cfg.Nameservers {
		if back := rec.reverse.get(a.Unmap()); back.len() > 0 && back.first.host < 0 {
			name = back.first.service.key + "\x03svc"
			break
		}
	}
	size := len(name) + len(z.domain)
	r.Head(wire.HeaderLen, wire.TypeNS, z.cfg.TTL, size)
	target := len(r.Buf)
	r.Buf = append(append(r.Buf, name...), z.domain...)
	r.Count(wire.Answer, 1)
	for _, a := range z.cfg.Nameservers {
		if !r.Fits(lenAAAA) {
			return
		}
		r.Pointer(target)
		r.Buf = appendAddressFields(r.Buf, a.Unmap(), z.cfg.TTL)
		r.Count(wire.Additional, 1)
	}
}

// writePointers answers with the names that an address leads back to. A cluster IP has one; an endpoint may be behind
// several services.
func (z *Zone) writePointers(r *wire.Reply, back backlinks, turn uint32) {
	n := back.len()
	for i := range n {
		if p := back.at(i); p.host < 0 {
			z.writePointer(r, p)
			return
		}
	}
	for i := range n {
		if !z.writePointer(r, back.at((i+int(turn%uint32(n)))%n)) {
			return
		}
	}
}

func (z *Zone) writePointer(r *wire.Reply, p pointer) bool {
	const svc = "\x03svc"
	label := p.label()
	size := len(p.service.key) + len(svc) + len(z.domain)
	if label != "" {
		size += 1 + len(label)
	}
	if !r.Fits(12 + size) {
		r.Truncate()
		return false
	}
	r.Head(wire.HeaderLen, wire.TypePTR, p.service.ttl, size)
	if label != "" {
		r.Buf = append(append(r.Buf, byte(len(label))), label...)
	}
	r.Buf = append(append(append(r.Buf, p.service.key...), svc...), z.domain...)
	r.Count(wire.Answer, 1)
	return true
}
