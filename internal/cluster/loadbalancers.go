// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"fmt"
	"net/netip"
	"slices"

	"eastwest/internal/addressplan"
)

// loadBalancers returns the addresses for load balancers: those that a person gave, which must be on the node network and
// nobody's yet, or the end of each node network. A network that is full of nodes has none.
func loadBalancers(r *Record, given []addressplan.Range) ([]addressplan.Range, error) {
	for _, one := range given {
		on := slices.ContainsFunc(r.NodeCIDRs, func(n netip.Prefix) bool { return n.Contains(one.First) && n.Contains(one.Last) })
		if !on {
			return nil, fmt.Errorf("--load-balancer-pool %s: is not on the node network %v, which the host reaches", one, r.NodeCIDRs)
		}
		if holder, taken := r.holds(one); taken {
			return nil, fmt.Errorf("--load-balancer-pool %s: has the address of %s", one, holder)
		}
	}
	if len(given) > 0 {
		return given, nil
	}
	var out []addressplan.Range
	for _, network := range r.NodeCIDRs {
		one, ok := addressplan.LoadBalancers(network)
		if _, taken := r.holds(one); ok && !taken {
			out = append(out, one)
		}
	}
	return out, nil
}

// holds says who has an address of a range.
func (r *Record) holds(one addressplan.Range) (string, bool) {
	for _, gateway := range r.Gateways() {
		if one.Contains(gateway) {
			return "the host", true
		}
	}
	for _, node := range r.Nodes {
		if slices.ContainsFunc(node.Addresses, one.Contains) {
			return node.Name, true
		}
	}
	return "", false
}
