// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"cmp"
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
			row.Endpoints = append(row.Endpoints, table.NameEndpoint{Addr: addr, Pod: pod.Name})
		}
	}
	slices.SortFunc(row.Endpoints, func(a, b table.NameEndpoint) int {
		return cmp.Or(a.Addr.Compare(b.Addr), cmp.Compare(a.Pod, b.Pod))
	})
	return row, true
}

// nameEndpoints merges the slices: an endpoint with several ports may be listed once for each of them, and several
// addresses of one endpoint are as many endpoints.
func nameEndpoints(list []*snapshot.Slice, notReady bool) []table.NameEndpoint {
	size := 0
	for _, slice := range list {
		size += len(slice.Endpoints)
	}
	all := make([]table.NameEndpoint, 0, size)
	for _, slice := range list {
		ports := make([]table.NamePort, 0, len(slice.Ports))
		for _, p := range slice.Ports {
			ports = append(ports, table.NamePort{Name: p.Name, Protocol: p.Protocol.String(), Port: p.Port})
		}
		for i := range slice.Endpoints {
			e := &slice.Endpoints[i]
			if !e.Ready && !notReady {
				continue
			}
			for _, addr := range e.Addrs {
				all = append(all, table.NameEndpoint{Hostname: e.Hostname, Addr: addr, Pod: e.Pod, Ports: slices.Clip(ports)})
			}
		}
	}
	slices.SortStableFunc(all, func(a, b table.NameEndpoint) int {
		return cmp.Or(a.Addr.Compare(b.Addr), cmp.Compare(a.Hostname, b.Hostname))
	})
	return slices.Clip(mergeSame(all))
}

// mergeSame makes one of neighbours that are the same endpoint. Endpoints of one slice share their ports until another
// slice adds some.
func mergeSame(all []table.NameEndpoint) []table.NameEndpoint {
	out := all[:0]
	for _, e := range all {
		last := len(out) - 1
		if last < 0 || out[last].Addr != e.Addr || out[last].Hostname != e.Hostname {
			out = append(out, e)
			continue
		}
		for _, p := range e.Ports {
			if !slices.Contains(out[last].Ports, p) {
				out[last].Ports = append(out[last].Ports, p)
			}
		}
	}
	clear(all[len(out):])
	return out
}
