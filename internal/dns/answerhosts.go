// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"encoding/binary"
	"net/netip"

	"eastwest/internal/dns/wire"
)

// writeAddress answers with one address if it is of the family asked for. The owner is the question's name.
func writeAddress(q *wire.Query, r *wire.Reply, a netip.Addr, ttl uint32) {
	if !wantsAddress(q.Type, a) {
		return
	}
	size := lenAAAA
	if a.Is4() {
		size = lenA
	}
	if !r.Fits(size) {
		r.Truncate()
		return
	}
	r.Buf = appendAddress(r.Buf, a, ttl)
	r.Count(wire.Answer, 1)
}

func wantsAddress(qtype uint16, a netip.Addr) bool {
	return qtype == wire.TypeANY || qtype == wire.TypeA && a.Is4() || qtype == wire.TypeAAAA && a.Is6()
}

// writeHosts answers for the name of an endpoint, or for a port of a headless service: with the endpoints that have it.
func writeHosts(q *wire.Query, r *wire.Reply, n *node, hosts []host, turn uint32) {
	if q.Type == wire.TypeSRV {
		writeHostSRV(q, r, n, hosts, turn)
		return
	}
	for i := range hosts {
		h := &hosts[(i+int(turn%uint32(len(hosts))))%len(hosts)]
		if n.kind == endpointName || h.matches(n) {
			writeAddress(q, r, h.Addr, n.service.ttl)
		}
		if r.Truncated() {
			return
		}
	}
}

// matches reports whether an endpoint has a port that the name asks for.
func (h *host) matches(n *node) bool {
	for i := range h.Ports {
		if matches(&h.Ports[i], n.port, n.proto) {
			return true
		}
	}
	return false
}

// srvWeight shares 100 among n records; every record has a priority of 0.
func srvWeight(n int) uint16 { return uint16(max(1, 100/max(1, n))) }

// writeServiceSRV answers with the service's ports, and adds its addresses.
func writeServiceSRV(q *wire.Query, r *wire.Reply, n *node, turn uint32) {
	s, count := n.service, 0
	for i := range s.ports {
		if matches(&s.ports[i], n.port, n.proto) {
			count += len(s.ips)
		}
	}
	var numbers numberSet
	written := 0
	for i := range s.ports {
		p := &s.ports[(i+int(turn%uint32(len(s.ports))))%len(s.ports)]
		if !matches(p, n.port, n.proto) || !numbers.add(p.Port) {
			continue
		}
		if !writeSRV(q, r, n, "", p.Port, srvWeight(count)) {
			return
		}
		written++
	}
	if written == 0 {
		return
	}
	for _, a := range s.ips {
		if !writeTargetAddress(q, r, n, "", a.Unmap()) {
			return
		}
	}
}

// writeHostSRV answers with the ports of endpoints, and adds their addresses.
func writeHostSRV(q *wire.Query, r *wire.Reply, n *node, hosts []host, turn uint32) {
	count := 0
	for i := range hosts {
		for j := range hosts[i].Ports {
			if matches(&hosts[i].Ports[j], n.port, n.proto) {
				count++
			}
		}
	}
	if count == 0 {
		return
	}
	first := firstOfName(hosts, int(turn%uint32(len(hosts))))
	if !eachHost(hosts, first, hostSRV(q, r, n, srvWeight(count))) {
		return
	}
	eachHost(hosts, first, func(h *host) bool {
		return !h.matches(n) || writeTargetAddress(q, r, n, h.label, h.Addr)
	})
}

// hostSRV returns what writes the records of one endpoint after the other; the addresses of one name come in a row.
func hostSRV(q *wire.Query, r *wire.Reply, n *node, weight uint16) func(*host) bool {
	label := ""
	var numbers numberSet
	return func(h *host) bool {
		if h.label != label {
			label = h.label
			numbers.clear()
		}
		for i := range h.Ports {
			p := &h.Ports[i]
			if matches(p, n.port, n.proto) && numbers.add(p.Port) && !writeSRV(q, r, n, h.label, p.Port, weight) {
				return false
			}
		}
		return true
	}
}

func eachHost(hosts []host, first int, f func(*host) bool) bool {
	for i := range hosts {
		if !f(&hosts[(first+i)%len(hosts)]) {
			return false
		}
	}
	return true
}

// firstOfName moves back to the first address of the same name.
func firstOfName(hosts []host, i int) int {
	for i > 0 && hosts[i-1].label == hosts[i].label {
		i--
	}
	return i
}

// writeSRV appends one SRV record whose target is the service's name or, with a label, an endpoint's; false if it does
// not fit. The target is written out in full (RFC 2782).
func writeSRV(q *wire.Query, r *wire.Reply, n *node, label string, port, weight uint16) bool {
	name := q.From(n.base)
	size := len(name)
	if label != "" {
		size += 1 + len(label)
	}
	if !r.Fits(12 + 6 + size) {
		r.Truncate()
		return false
	}
	r.Head(wire.HeaderLen, wire.TypeSRV, n.service.ttl, 6+size)
	r.Buf = append(r.Buf, 0, 0)
	r.Buf = binary.BigEndian.AppendUint16(r.Buf, weight)
	r.Buf = binary.BigEndian.AppendUint16(r.Buf, port)
	if label != "" {
		r.Buf = append(append(r.Buf, byte(len(label))), label...)
	}
	r.Buf = append(r.Buf, name...)
	r.Count(wire.Answer, 1)
	return true
}

// writeTargetAddress adds the address of an SRV target; false if it does not fit, which is no truncation (RFC 2181, 9).
func writeTargetAddress(q *wire.Query, r *wire.Reply, n *node, label string, a netip.Addr) bool {
	if !r.Fits(lenAAAA + 1 + len(label)) {
		return false
	}
	if label != "" {
		r.Buf = append(append(r.Buf, byte(len(label))), label...)
	}
	r.Pointer(q.Offset(n.base))
	r.Buf = appendAddressFields(r.Buf, a, n.service.ttl)
	r.Count(wire.Additional, 1)
	return true
}
