// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"eastwest/internal/snapshot"
	"eastwest/internal/table"
)

// nameKeys returns the keys of the rows that a change touches: namespace/name, and namespace/ for a namespace's own.
func nameKeys(changes snapshot.Changes) []string {
	keys := slices.Clip(changes.Services)
	for _, namespace := range changes.Namespaces {
		keys = append(keys, namespace+"/")
	}
	return keys
}

// Name compiles what DNS answers for the Service namespace/name, or for the namespace where the name is empty; false when
// there is no such object.
func Name(now snapshot.Snapshot, config Config, key string) (table.Name, bool) {
	if namespace, ok := strings.CutSuffix(key, "/"); ok {
		return namespaceName(now, config, namespace)
	}
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
	if service.ExternalName == "" {
		list, _ := now.Slices.Get(key)
		row.Endpoints = nameEndpoints(list, service.PublishNotReady)
	}
	return row, true
}

// namespaceName compiles the row of a namespace: the pods that pod records are verified with.
func namespaceName(now snapshot.Snapshot, config Config, namespace string) (table.Name, bool) {
	if _, ok := now.Namespaces.Get(namespace); !ok {
		return table.Name{}, false
	}
	row := table.Name{Object: table.Object{Kind: "Namespace", Name: namespace}, TTL: config.NameTTL}
	pods, _ := now.Pods.Get(namespace)
	for _, pod := range pods {
		for _, addr := range pod.Addrs {
			row.Endpoints = append(row.Endpoints, table.NameEndpoint{Addr: addr, Target: pod.Object()})
		}
	}
	slices.SortFunc(row.Endpoints, func(a, b table.NameEndpoint) int {
		return cmp.Or(a.Addr.Compare(b.Addr), cmp.Compare(a.Target.Name, b.Target.Name))
	})
	return row, true
}

// nameEndpoints merges the slices: an endpoint with several ports may be listed once for each of them, and several
// addresses of one endpoint are as many endpoints.
func nameEndpoints(list []*snapshot.Slice, notReady bool) []table.NameEndpoint {
	merge := endpointMerge{}
	for _, slice := range list {
		ports := make([]table.NamePort, 0, len(slice.Ports))
		for _, p := range slice.Ports {
			ports = append(ports, table.NamePort{Name: p.Name, Protocol: p.Protocol.String(), Port: p.Port})
		}
		for i := range slice.Endpoints {
			if e := &slice.Endpoints[i]; e.Ready || notReady {
				merge.add(e, ports)
			}
		}
	}
	out := make([]table.NameEndpoint, 0, len(merge))
	for _, e := range merge {
		out = append(out, *e)
	}
	slices.SortFunc(out, func(a, b table.NameEndpoint) int {
		return cmp.Or(a.Addr.Compare(b.Addr), cmp.Compare(a.Hostname, b.Hostname))
	})
	return out
}

type endpointID struct {
	addr     netip.Addr
	hostname string
}

type endpointMerge map[endpointID]*table.NameEndpoint

// add takes an endpoint in. Endpoints of one slice share its ports until another slice adds some.
func (m endpointMerge) add(e *snapshot.Endpoint, ports []table.NamePort) {
	for _, addr := range e.Addrs {
		key := endpointID{addr, e.Hostname}
		if m[key] == nil {
			m[key] = &table.NameEndpoint{Hostname: e.Hostname, Addr: addr, Target: e.Target, Ports: slices.Clip(ports)}
			continue
		}
		for _, p := range ports {
			if !slices.Contains(m[key].Ports, p) {
				m[key].Ports = append(m[key].Ports, p)
			}
		}
	}
}
