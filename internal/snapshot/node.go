// SPDX-License-Identifier: Apache-2.0

package snapshot

import "net/netip"

// Node is what a node needs of another Node, or of itself.
type Node struct {
	Name     string
	Addrs    []netip.Addr   // internal addresses, in the API's order
	Others   []netip.Addr   // external addresses
	PodCIDRs []netip.Prefix // empty until one is assigned
	Zone     string         // label topology.kubernetes.io/zone
	Leaving  bool           // being deleted, or about to be by the cluster autoscaler
	Ready    bool           // condition Ready is True
	Excluded bool           // label node.kubernetes.io/exclude-from-external-load-balancers
}
