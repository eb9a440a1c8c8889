// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"cmp"
	"net/netip"
	"slices"

	"eastwest/internal/snapshot"
	"eastwest/internal/table"
)

// Name compiles what DNS answers for namespace/name; false when there is no such Service.
func Name(now snapshot.Snapshot, config Config, key string) (table.Name, bool) {
	service, ok := now.Services.Get(key)
	if !ok || (!service.Headless && service.ExternalName == "" && len(service.ClusterIPs) == 0) {
		return table.Name{}, false
	}
	row := table.Name{
		Object:       table.Object{Kind: "Service", Namespace: service.Namespace, Name: service.Name},
		ClusterIPs:   service.ClusterIPs,
		Headless:     service.Headless,
		ExternalName: service.ExternalName,
		TTL:          config.NameTTL,
	}
	for _, p := range service.Ports {
		row.Ports = append(row.Ports, table.NamePort{Name: p.Name, Protocol: p.Protocol.String(), Port: p.Port})
	}
	if service.Headless && service.ExternalName == "" {
		list, _ := now.Slices.Get(key)
		row.Endpoints = nameEndpoints(list, service.PublishNotReady)
	}
	return row, true
}

// nameEndpoints merges the slices: an endpoint with several ports may be listed once for each of them.
func nameEndpoints(list []*snapshot.Slice, notReady bool) []table.NameEndpoint {
	type id struct {
		addr     netip.Addr
		hostname string
	}
	at := map[id]*table.NameEndpoint{}
	for _, slice := range list {
		for _, e := range slice.Endpoints {
			if !e.Ready && !notReady {
				continue
			}
			key := id{e.Addrs[0], e.Hostname}
			if at[key] == nil {
				at[key] = &table.NameEndpoint{Hostname: e.Hostname, Addr: e.Addrs[0], Target: e.Target}
			}
			for _, p := range slice.Ports {
				port := table.NamePort{Name: p.Name, Protocol: p.Protocol.String(), Port: p.Port}
				if !slices.Contains(at[key].Ports, port) {
					at[key].Ports = append(at[key].Ports, port)
				}
			}
		}
	}
	out := make([]table.NameEndpoint, 0, len(at))
	for _, e := range at {
		out = append(out, *e)
	}
	slices.SortFunc(out, func(a, b table.NameEndpoint) int {
		return cmp.Or(a.Addr.Compare(b.Addr), cmp.Compare(a.Hostname, b.Hostname))
	})
	return out
}
