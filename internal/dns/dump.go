// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"eastwest/internal/dns/wire"
)

// Dump returns the names that rows made, one record a line, sorted: name, type, data, and the object that it came from.
func (z *Zone) Dump(context.Context) (string, error) {
	rec := z.records.Load()
	if rec == nil {
		return "", nil
	}
	var lines []string
	rec.services.all(func(_ string, s *service) { lines = append(lines, z.dumpService(s)...) })
	rec.reverse.all(func(key string, pointers []pointer) {
		addr := netip.AddrFrom16([16]byte([]byte(key))).Unmap()
		for _, p := range pointers {
			lines = append(lines, fmt.Sprintf("%s PTR %s # %s", addr, z.hostText(p.service, p.label), p.service.object))
		}
	})
	slices.Sort(lines)
	return strings.Join(append(slices.Compact(lines), ""), "\n"), nil
}

func (z *Zone) dumpService(s *service) (lines []string) {
	name := z.hostText(s, "")
	if s.cname != nil {
		return []string{fmt.Sprintf("%s CNAME %s # %s", name, wire.Text(s.cname), s.object)}
	}
	for _, p := range s.ports {
		if p.name != "" && !s.headless {
			lines = append(lines, fmt.Sprintf("_%s._%s.%s SRV %d %s # %s", p.name, p.proto, name, p.number, name, s.object))
		}
	}
	for _, a := range s.ips {
		lines = append(lines, fmt.Sprintf("%s %s %s # %s", name, family(a), a, s.object))
	}
	for _, h := range s.hosts {
		own := z.hostText(s, h.label)
		lines = append(lines, fmt.Sprintf("%s %s %s # %s", own, family(h.addr), h.addr, origin(s, h)))
		if !s.headless {
			continue
		}
		lines = append(lines, fmt.Sprintf("%s %s %s # %s", name, family(h.addr), h.addr, origin(s, h)))
		for _, p := range h.ports {
			if p.name != "" {
				lines = append(lines, fmt.Sprintf("_%s._%s.%s SRV %d %s # %s", p.name, p.proto, name, p.number, own, origin(s, h)))
			}
		}
	}
	return lines
}

// hostText is the dotted name of a service or, with a label, of one of its endpoints.
func (z *Zone) hostText(s *service, label string) string {
	name := wire.Text([]byte(s.key)) + "svc." + wire.Text(z.domain)
	if label == "" {
		return name
	}
	return label + "." + name
}

func family(a netip.Addr) string {
	if a.Unmap().Is4() {
		return "A"
	}
	return "AAAA"
}

func origin(s *service, h host) string {
	if h.target.Name == "" {
		return s.object.String()
	}
	return s.object.String() + ", " + h.target.String()
}
