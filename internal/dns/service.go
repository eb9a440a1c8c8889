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
	object   table.Object
	key      string // labels of name and namespace in wire form: the index's key, and the beginning of every name
	ttl      uint32
	headless bool
	cname    []byte // of an ExternalName, in wire form
	v4, v6   []byte // address records of the service's own name, each with an owner that points to the question
	ips      []netip.Addr
	ports    []port
	hosts    []host // names of endpoints, sorted by label
}

type port struct {
	name, proto string
	number      uint16
}

// host is one address of an endpoint's name below the service.
type host struct {
	label  string
	addr   netip.Addr
	ports  []port
	target table.Object
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
	s := &service{object: row.Object, key: string(key), ttl: row.TTL, headless: row.Headless, ips: row.ClusterIPs, ports: ports(row.Ports)}
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
			addrs = append(addrs, h.addr)
		}
	}
	s.v4, s.v6 = addressRecords(addrs, s.ttl)
	return s, nil
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
	var last []table.NamePort
	var shared []port
	for _, e := range endpoints {
		if shared == nil || !slices.Equal(last, e.Ports) {
			last, shared = e.Ports, ports(e.Ports)
		}
		label := strings.ToLower(e.Hostname)
		if label == "" {
			label = addressLabel(e.Addr)
		}
		if len(label) > min(63, room) || strings.Contains(label, ".") {
			if !s.headless {
				continue // the service's own name does not depend on it
			}
			return fmt.Errorf("prepare endpoint %s of %s: label %q is too long or no DNS label", e.Addr, s.object, label)
		}
		s.hosts = append(s.hosts, host{label: label, addr: e.Addr.Unmap(), ports: shared, target: e.Target})
	}
	slices.SortStableFunc(s.hosts, func(a, b host) int {
		return cmp.Or(cmp.Compare(a.label, b.label), a.addr.Compare(b.addr))
	})
	return nil
}

// addressLabel is the name of an endpoint without a hostname: its address with dashes.
func addressLabel(a netip.Addr) string {
	a = a.Unmap()
	if a.Is4() {
		return strings.ReplaceAll(a.String(), ".", "-")
	}
	label := strings.ReplaceAll(a.WithZone("").String(), ":", "-")
	if strings.HasSuffix(label, "-") {
		label += "0" // a label ends in a letter or digit
	}
	return label
}

func ports(in []table.NamePort) []port {
	out := make([]port, 0, len(in))
	for _, p := range in {
		out = append(out, port{strings.ToLower(p.Name), strings.ToLower(p.Protocol), p.Port})
	}
	return out
}

// addressRecords writes the A and AAAA records of the distinct addresses.
func addressRecords(addrs []netip.Addr, ttl uint32) (v4, v6 []byte) {
	seen := make(map[netip.Addr]bool, len(addrs))
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
		seen[a] = true
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
