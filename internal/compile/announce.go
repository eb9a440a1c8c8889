// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"hash/fnv"
	"io"
	"maps"
	"slices"

	"eastwest/internal/snapshot"
	"eastwest/internal/table"
)

// Announcement compiles what this node announces of one Service; none when another node does. Every node comes to the same
// answer by itself: among the nodes that may, the one that a hash of Service and node prefers, so that addresses are
// spread, and move only from a node that goes.
func Announcement(now snapshot.Snapshot, config Config, key string) (table.Announcement, bool) {
	service, ok := now.Services.Get(key)
	if !ok || !service.Announced || service.Unproxied || len(service.LoadBalancerIPs) == 0 {
		return table.Announcement{}, false
	}
	if announcer(now, service) != config.NodeName {
		return table.Announcement{}, false
	}
	return table.Announcement{
		Object: table.Object{Kind: "Service", Namespace: service.Namespace, Name: service.Name},
		Addrs:  service.LoadBalancerIPs,
	}, true
}

// announcer names the node that announces a Service; empty when none may. Of a Service with externalTrafficPolicy Local
// only nodes may that have an endpoint of it.
func announcer(now snapshot.Snapshot, service *snapshot.Service) string {
	var local map[string]bool
	if service.ExternalLocal {
		local = endpointNodes(now, service)
	}
	best, most := "", uint64(0)
	for _, node := range now.Nodes.All() {
		if !node.Ready || node.Excluded || node.Leaving || local != nil && !local[node.Name] {
			continue
		}
		if weight := preference(service.Key(), node.Name); best == "" || weight > most || weight == most && node.Name < best {
			best, most = node.Name, weight
		}
	}
	return best
}

// endpointNodes returns the nodes that have an endpoint which takes traffic.
func endpointNodes(now snapshot.Snapshot, service *snapshot.Service) map[string]bool {
	nodes := map[string]bool{}
	for _, slice := range proxied(now, service.Key()) {
		for i := range slice.Endpoints {
			if e := &slice.Endpoints[i]; e.Ready || service.PublishNotReady {
				nodes[e.Node] = true
			}
		}
	}
	return nodes
}

// preference is a node's weight for a Service in rendezvous hashing.
func preference(service, node string) uint64 {
	h := fnv.New64a()
	_, _ = io.WriteString(h, service+"\x00"+node)
	// FNV alone leaves the high bits of similar names alike.
	x := h.Sum64()
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}

// announcements compiles those of some Services, and all of them after nodes changed.
func (c *Compiler) announcements(now snapshot.Snapshot, changes snapshot.Changes) (table.Table[table.Announcement], table.Keys) {
	var keys []string
	for _, key := range changes.Services {
		before := c.announced[key]
		if service, ok := now.Services.Get(key); ok && service.Announced {
			c.announced[key] = true
		} else {
			delete(c.announced, key)
		}
		if before || c.announced[key] {
			keys = append(keys, key)
		}
	}
	if len(changes.Nodes) > 0 {
		keys = slices.AppendSeq(keys, maps.Keys(c.announced))
	}
	slices.Sort(keys)
	return update(c.last.Announcements, slices.Compact(keys), func(key string) (table.Announcement, bool) {
		return Announcement(now, c.config, key)
	})
}
