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
	rec.reverse.all(func(addr netip.Addr, back backlinks) {
		for i := range back.len() {
			p := back.at(i)
			lines = append(lines, fmt.Sprintf("%s PTR %s # %s", addr, z.hostText(p.service, p.label()), p.service.object))
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
		if p.Name != "" && !s.headless {
			lines = append(lines, fmt.Sprintf("_%s._%s.%s SRV %d %s # %s", p.Name, p.Protocol, name, p.Port, name, s.object))
		}
	}
	for _, a := range s.ips {
		lines = append(lines, fmt.Sprintf("%s %s %s # %s", name, family(a), a, s.object))
	}
	for _, h := range s.hosts {
		own := z.hostText(s, h.label)
		lines = append(lines, fmt.Sprintf("%s %s %s # %s", own, family(h.Addr), h.Addr, z.originText(s, h)))
		if !s.headless {
			continue
		}
		lines = append(lines, fmt.Sprintf("%s %s %s # %s", name, family(h.Addr), h.Addr, z.originText(s, h)))
		for _, p := range h.Ports {
			if p.Name != "" {
				lines = append(lines, fmt.Sprintf("_%s._%s.%s SRV %d %s # %s", p.Name, p.Protocol, name, p.Port, own, z.originText(s, h)))
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

func (z *Zone) originText(s *service, h host) string {
	if pod := z.podOf(s, h); pod.Name != "" {
		return s.object.String() + ", " + pod.String()
	}
	return s.object.String()
}
