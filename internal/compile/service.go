// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"net/netip"
	"slices"

	"eastwest/internal/snapshot"
	"eastwest/internal/table"
)

// Service compiles the row of namespace/name; false when there is nothing to carry: no such Service, headless, or ExternalName.
// Of a Service that another proxy serves only the addresses are known, which are left alone.
func Service(now snapshot.Snapshot, config Config, key string) (table.Service, bool) {
	service, ok := now.Services.Get(key)
	if !ok || service.Headless || service.ExternalName != "" || len(service.ClusterIPs) == 0 {
		return table.Service{}, false
	}
	object := table.Object{Kind: "Service", Namespace: service.Namespace, Name: service.Name}
	if service.Unproxied {
		return table.Service{Object: object, Elsewhere: sortedAddrs(service.ClusterIPs)}, true
	}
	node := ownNodeOf(now, config.NodeName)
	b := builder{
		config: config, service: service, zone: node.Zone, own: slices.Concat(config.NodeIPs, node.Addrs),
		dns:        key == config.DNSService && key != "",
		localReady: map[netip.Addr]bool{},
		row:        table.Service{Object: object},
	}
	b.slices = proxied(now, key)
	for _, port := range service.Ports {
		b.port(port)
	}
	b.row.Addresses = sortedAddrs(service.ClusterIPs)
	if service.ExternalLocal && service.HealthCheckNodePort != 0 {
		b.row.HealthCheck, b.row.LocalEndpoints = service.HealthCheckNodePort, countOf(b.localReady)
	}
	b.row.Frontends = unique(b.row.Frontends)
	b.row.Hairpin = sortedAddrs(b.row.Hairpin)
	return b.row, true
}

// countOf counts addresses: a pod of both families is one endpoint in each.
func countOf(addrs map[netip.Addr]bool) (count table.Count) {
	for addr := range addrs {
		if addr.Is4() {
			count.IPv4++
		} else {
			count.IPv6++
		}
	}
	return count
}

// proxied returns the slices of a Service that proxies forward to.
func proxied(now snapshot.Snapshot, key string) []*snapshot.Slice {
	list, _ := now.Slices.Get(key)
	unproxied := func(s *snapshot.Slice) bool { return s.Unproxied }
	if !slices.ContainsFunc(list, unproxied) {
		return list
	}
	return slices.DeleteFunc(slices.Clone(list), unproxied)
}

// builder collects the frontends of one Service.
type builder struct {
	config  Config
	service *snapshot.Service
	slices  []*snapshot.Slice
	zone    string
	own     []netip.Addr // addresses of this node
	dns     bool
	row     table.Service

	localReady map[netip.Addr]bool // ready endpoints on this node, of any port
}

func (b *builder) port(port snapshot.Port) {
	for _, ipv6 := range []bool{false, true} {
		own := len(b.config.NodeIPs) == 0 || slices.ContainsFunc(b.config.NodeIPs, func(a netip.Addr) bool { return a.Is6() == ipv6 })
		addrs := ofFamily(b.service.ClusterIPs, ipv6)
		if len(addrs) == 0 {
			continue
		}
		pool := b.pool(port, ipv6)
		b.row.Hairpin = append(b.row.Hairpin, pool.hairpin...)
		for _, addr := range addrs {
			b.clusterIP(port, addr, pool)
		}
		for _, addr := range ofFamily(b.service.ExternalIPs, ipv6) {
			b.external(port, table.ExternalIP, addr, port.Port, nil, pool)
		}
		for _, addr := range ofFamily(b.service.LoadBalancerIPs, ipv6) {
			b.external(port, table.LoadBalancer, addr, port.Port, b.rangesFor(addr), pool)
		}
		if port.NodePort != 0 && own {
			b.external(port, table.NodePort, unspecified(ipv6), port.NodePort, nil, pool)
		}
	}
}

// clusterIP adds the frontend for clients inside the cluster.
func (b *builder) clusterIP(port snapshot.Port, addr netip.Addr, pool pool) {
	f := b.frontend(port, table.ClusterIP, addr, port.Port)
	f.Masquerade = table.FromOutside
	if b.config.MasqueradeAll {
		f.Masquerade = table.Always
	}
	if b.service.InternalLocal {
		f.Local, f.Endpoints, f.Action = true, pool.local, pool.localAction()
	} else {
		f.Endpoints, f.Action = pool.cluster, pool.clusterAction()
	}
	if b.dns && port.Port == 53 {
		f.LocalSocket = true
		f.Endpoints, f.Action = pool.elsewhere, actionOf(pool.elsewhere, table.Reject)
	}
	b.add(f, pool)
}

// add appends a frontend. Endpoints of its pool that it does not use still have the connections of before.
func (b *builder) add(f table.Frontend, pool pool) {
	if len(f.Endpoints) < len(pool.keeping) {
		f.Draining = slices.DeleteFunc(slices.Clone(pool.keeping), func(e netip.AddrPort) bool {
			_, used := slices.BinarySearchFunc(f.Endpoints, e, netip.AddrPort.Compare)
			return used
		})
	}
	b.row.Frontends = append(b.row.Frontends, f)
}

// external adds the frontends for an address that clients outside the cluster use. With policy Local these get this
// node's endpoints and keep their addresses, while pods and the node itself take the short way to all endpoints.
func (b *builder) external(port snapshot.Port, kind table.Kind, addr netip.Addr, number uint16, ranges []netip.Prefix, pool pool) {
	everyone := b.frontend(port, kind, addr, number)
	everyone.Endpoints, everyone.Action = pool.cluster, pool.clusterAction()
	everyone.Masquerade = table.Always
	everyone.SourceRanges = ranges
	if b.service.ExternalLocal {
		everyone.Masquerade = table.FromOutside
		outside := b.frontend(port, kind, addr, number)
		outside.View, outside.Local, outside.SourceRanges = table.Outside, true, ranges
		outside.Endpoints, outside.Action = pool.local, pool.localAction()
		b.add(outside, pool)
	}
	b.add(everyone, pool)
}

func (b *builder) frontend(port snapshot.Port, kind table.Kind, addr netip.Addr, number uint16) table.Frontend {
	return table.Frontend{
		Kind: kind, Addr: addr, Protocol: port.Protocol, Port: number, PortName: port.Name,
		AffinitySeconds: b.service.AffinitySeconds,
	}
}

// unique sorts the frontends and drops the later ones of the same place: an address may be listed both as external
// address and as the load balancer's.
func unique(list []table.Frontend) []table.Frontend {
	slices.SortStableFunc(list, table.Frontend.Compare)
	seen := map[place]bool{}
	return slices.DeleteFunc(list, func(f table.Frontend) bool {
		at := placeOf(f)
		taken := seen[at]
		seen[at] = true
		return taken
	})
}

func unspecified(ipv6 bool) netip.Addr {
	if ipv6 {
		return netip.IPv6Unspecified()
	}
	return netip.IPv4Unspecified()
}

func ofFamily(addrs []netip.Addr, ipv6 bool) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(addrs), func(a netip.Addr) bool { return a.Is6() != ipv6 })
}

// rangesFor returns the clients that a load balancer's address lets in. Where this node is one of them and has the address on an
// interface, as some load balancers want it, its own packets to the address come from there.
func (b *builder) rangesFor(addr netip.Addr) []netip.Prefix {
	list := rangesOf(b.service.SourceRanges, addr.Is6())
	lets := func(own netip.Addr) bool {
		return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(own) })
	}
	if slices.ContainsFunc(b.own, lets) && !lets(addr) {
		list = sortedPrefixes(append(list, netip.PrefixFrom(addr, addr.BitLen())))
	}
	return list
}

// rangesOf keeps nil for "everyone"; ranges of the other family alone, or none that could be read, allow nobody. A range within another one says nothing
// more, and backends may rely on ranges that do not overlap.
func rangesOf(list []netip.Prefix, ipv6 bool) []netip.Prefix {
	if list == nil {
		return nil
	}
	out := []netip.Prefix{}
	for _, p := range list {
		if p.Addr().Is6() == ipv6 {
			out = append(out, p.Masked())
		}
	}
	return widest(sortedPrefixes(out))
}

// widest leaves out what lies within another prefix. A sorted list has the wider one first.
func widest(list []netip.Prefix) []netip.Prefix {
	out := list[:0]
	for _, p := range list {
		if n := len(out); n == 0 || !out[n-1].Overlaps(p) {
			out = append(out, p)
		}
	}
	return out
}

func sortedAddrs(list []netip.Addr) []netip.Addr {
	out := slices.Clone(list)
	slices.SortFunc(out, netip.Addr.Compare)
	return slices.Compact(out)
}

func sortedPrefixes(list []netip.Prefix) []netip.Prefix {
	out := slices.Clone(list)
	slices.SortFunc(out, func(a, b netip.Prefix) int {
		if c := a.Addr().Compare(b.Addr()); c != 0 {
			return c
		}
		return a.Bits() - b.Bits()
	})
	return slices.Compact(out)
}
