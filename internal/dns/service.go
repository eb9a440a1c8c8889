// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"eastwest/internal/dns/wire"
	"eastwest/internal/table"
)

// service is one row of the table, prepared: what any query for its names is answered from. Immutable.
type service struct {
	// What most queries need comes first, in one cache line; and key, v4 and v6 are one piece of memory.
	key      string // labels of name and namespace in wire form: the index's key, and the beginning of every name
	v4, v6   []byte // address records of the service's own name, each with an owner that points to the question
	cname    []byte // of an ExternalName, in wire form
	ttl      uint32
	headless bool
	object   table.Object
	ips      []netip.Addr
	ports    []table.NamePort
	hosts    []host // names of endpoints, sorted by label
}

// host is one address of an endpoint's name below the service.
type host struct {
	label string
	*table.NameEndpoint
}

// Lengths of address records whose owner is a pointer.
const (
	lenA    = 2 + 10 + 4
	lenAAAA = 2 + 10 + 16
)

// newService prepares a row of a zone whose domain has so many bytes in wire form. A row whose names cannot be written in
// DNS is an error.
func newService(row table.Name, domain int) (*service, error) {
	key, err := wire.AppendLabels(nil, row.Object.Name)
	if err == nil {
		key, err = wire.AppendLabels(key, row.Object.Namespace)
	}
	if err != nil {
		return nil, fmt.Errorf("prepare names of %s: %w", row.Object, err)
	}
	row = inLowerCase(row)
	s := &service{object: row.Object, key: string(key), ttl: row.TTL, headless: row.Headless, ips: row.ClusterIPs, ports: row.Ports}
	if row.ExternalName != "" {
		return s, s.alias(row.ExternalName)
	}
	if err := s.prepareHosts(row.Endpoints, wire.MaxName-domain-len("\x03svc")-len(key)-1); err != nil {
		return nil, err
	}
	addrs := row.ClusterIPs
	if row.Headless {
		addrs = make([]netip.Addr, 0, len(s.hosts))
		for _, h := range s.hosts {
			addrs = append(addrs, h.Addr)
		}
	}
	s.place(addressRecords(addrs, s.ttl))
	return s, nil
}

// place puts the address records behind the key, in one piece of memory.
func (s *service) place(v4, v6 []byte) {
	all := make([]byte, 0, len(s.key)+len(v4)+len(v6))
	all = append(append(append(all, s.key...), v4...), v6...)
	at := len(s.key)
	s.key = borrowed(all[:at:at])
	s.v4, s.v6 = all[at:at+len(v4):at+len(v4)], all[at+len(v4):]
}

// alias prepares an ExternalName. An address in its place makes a name without records: as CNAME it could only mislead.
func (s *service) alias(name string) error {
	if _, err := netip.ParseAddr(name); err == nil {
		return nil
	}
	cname, err := wire.Name(name)
	if err != nil {
		return fmt.Errorf("prepare external name of %s: %w", s.object, err)
	}
	s.cname = cname
	return nil
}

// prepareHosts prepares the endpoints, whose labels may have so many bytes.
func (s *service) prepareHosts(endpoints []table.NameEndpoint, room int) error {
	s.hosts = make([]host, 0, len(endpoints))
	labels := addressLabels(endpoints)
	for i := range endpoints {
		e := &endpoints[i]
		label := e.Hostname
		if label == "" {
			label = labels[i]
		}
		if len(label) > min(63, room) || strings.Contains(label, ".") {
			if !s.headless {
				continue // the service's own name does not depend on it
			}
			return fmt.Errorf("prepare endpoint %s of %s: label %q is too long or no DNS label", e.Addr, s.object, label)
		}
		s.hosts = append(s.hosts, host{label, e})
	}
	slices.SortStableFunc(s.hosts, func(a, b host) int {
		return cmp.Or(cmp.Compare(a.label, b.label), a.Addr.Compare(b.Addr))
	})
	return nil
}

// addressLabels are the names of endpoints without a hostname: their addresses with dashes, all in one piece of memory.
func addressLabels(endpoints []table.NameEndpoint) []string {
	var all []byte
	ends := make([]int, len(endpoints))
	for i, e := range endpoints {
		if e.Hostname == "" {
			from := len(all)
			all = e.Addr.Unmap().WithZone("").AppendTo(all)
			for j, c := range all[from:] {
				if c == '.' || c == ':' {
					all[from+j] = '-'
				}
			}
			if len(all) > from && all[len(all)-1] == '-' {
				all = append(all, '0') // a label ends in a letter or digit
			}
		}
		ends[i] = len(all)
	}
	labels, text, from := make([]string, len(endpoints)), string(all), 0
	for i, end := range ends {
		labels[i], from = text[from:end], end
	}
	return labels
}

// inLowerCase returns a row whose names are as those of queries are looked up. Nearly every row is so already, and is kept
// as it is.
func inLowerCase(row table.Name) table.Name {
	row.Ports = portsInLowerCase(row.Ports)
	given := row.Endpoints
	for i := range given {
		e := &given[i]
		next := table.NameEndpoint{Hostname: strings.ToLower(e.Hostname), Addr: e.Addr.Unmap(), Ports: portsInLowerCase(e.Ports), Pod: e.Pod}
		if next.Hostname == e.Hostname && next.Addr == e.Addr && slices.Equal(next.Ports, e.Ports) {
			continue
		}
		if &row.Endpoints[0] == &given[0] {
			row.Endpoints = slices.Clone(given)
		}
		row.Endpoints[i] = next
	}
	return row
}

func portsInLowerCase(in []table.NamePort) []table.NamePort {
	lower := func(p table.NamePort) table.NamePort {
		p.Name, p.Protocol = strings.ToLower(p.Name), strings.ToLower(p.Protocol)
		return p
	}
	if !slices.ContainsFunc(in, func(p table.NamePort) bool { return lower(p) != p }) {
		return in
	}
	out := slices.Clone(in)
	for i := range out {
		out[i] = lower(out[i])
	}
	return out
}

// addressRecords writes the A and AAAA records of the distinct addresses.
func addressRecords(addrs []netip.Addr, ttl uint32) (v4, v6 []byte) {
	var seen map[netip.Addr]bool
	if len(addrs) > 1 {
		seen = make(map[netip.Addr]bool, len(addrs))
	}
	for _, a := range addrs {
		a = a.Unmap()
		switch {
		case !a.IsValid() || seen[a]:
			continue
		case a.Is4():
			v4 = appendAddress(v4, a, ttl)
		default:
			v6 = appendAddress(v6, a, ttl)
		}
		if seen != nil {
			seen[a] = true
		}
	}
	return slices.Clip(v4), slices.Clip(v6)
}

// appendAddress appends an address record whose owner is the question's name.
func appendAddress(to []byte, a netip.Addr, ttl uint32) []byte {
	to = append(to, 0xc0, wire.HeaderLen)
	return appendAddressFields(to, a, ttl)
}

func appendAddressFields(to []byte, a netip.Addr, ttl uint32) []byte {
	if a.Is4() {
		to = append(to, 0, wire.TypeA, 0, wire.ClassIN)
		to = binary.BigEndian.AppendUint32(to, ttl)
		ip := a.As4()
		return append(append(to, 0, 4), ip[:]...)
	}
	to = append(to, 0, wire.TypeAAAA, 0, wire.ClassIN)
	to = binary.BigEndian.AppendUint32(to, ttl)
	ip := a.As16()
	return append(append(to, 0, 16), ip[:]...)
}

// find returns the addresses of an endpoint's name.
func (s *service) find(label []byte) []host {
	from, _ := slices.BinarySearchFunc(s.hosts, label, func(h host, label []byte) int {
		return strings.Compare(h.label, string(label))
	})
	to := from
	for to < len(s.hosts) && s.hosts[to].label == string(label) {
		to++
	}
	return s.hosts[from:to]
}

// empty reports whether the service's name has no records at all, neither itself nor below it.
func (s *service) empty() bool { return s.cname == nil && len(s.v4) == 0 && len(s.v6) == 0 }
