// SPDX-License-Identifier: Apache-2.0

package compile

import (
	"net/netip"

	"eastwest/internal/snapshot"
	"eastwest/internal/table"
)

// Routes compiles the way to the pods of every other node that is reached without the overlay.
func Routes(now snapshot.Snapshot, config Config) map[string]table.Route {
	rows := map[string]table.Route{}
	for prefix, node := range owners(now) {
		via := ofFamily(node.Addrs, prefix.Addr().Is6())
		if node.Name != config.NodeName && len(via) > 0 && !tunnelled(now, config, node) {
			rows[prefix.String()] = table.Route{Object: table.Object{Kind: "Node", Name: node.Name}, Destination: prefix, Via: via[0]}
		}
	}
	return rows
}

// owners returns whose pods have which addresses. When two nodes claim one prefix, the first by name has it.
func owners(now snapshot.Snapshot) map[netip.Prefix]*snapshot.Node {
	owner := map[netip.Prefix]*snapshot.Node{}
	for _, name := range now.Nodes.Keys() {
		node, _ := now.Nodes.Get(name)
		for _, prefix := range node.PodCIDRs {
			if _, taken := owner[prefix]; !taken {
				owner[prefix] = node
			}
		}
	}
	return owner
}

// Egress compiles this node's one row; none while it has no pod CIDR. Nodes that are reached through the overlay count as
// outside: their answers to a pod come through the overlay, so that a network between, which knows no pods, sees half of
// the connection at most; as one of nodes it is whole.
func Egress(now snapshot.Snapshot, config Config) map[string]table.Egress {
	own, ok := now.Nodes.Get(config.NodeName)
	if !ok || len(own.PodCIDRs) == 0 {
		return nil
	}
	var inside []netip.Prefix
	inside = append(inside, config.ClusterCIDRs...)
	inside = append(inside, now.ServiceCIDRs...)
	for _, node := range now.Nodes.All() {
		for _, addr := range node.Addrs {
			if tunnelled(now, config, node) {
				break
			}
			inside = append(inside, netip.PrefixFrom(addr, addr.BitLen()))
		}
		inside = append(inside, node.PodCIDRs...)
	}
	return map[string]table.Egress{config.NodeName: {
		Object:  table.Object{Kind: "Node", Name: config.NodeName},
		Sources: minimal(own.PodCIDRs), Inside: minimal(inside),
	}}
}

// minimal sorts and drops what another prefix covers: sets of the kernel refuse overlapping ranges.
func minimal(list []netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range sortedPrefixes(list) {
		if len(out) == 0 || !covers(out[len(out)-1], p) {
			out = append(out, p)
		}
	}
	return out
}

func covers(outer, inner netip.Prefix) bool {
	return outer.Bits() <= inner.Bits() && outer.Contains(inner.Addr())
}
