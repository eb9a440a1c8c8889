// SPDX-License-Identifier: Apache-2.0

// Package addressplan says which addresses of a cluster's ranges have a fixed meaning, for the server and the nodes alike.
package addressplan

import "net/netip"

// dnsIndex is the place of the cluster's DNS in each service range, where clients of Kubernetes expect it.
const dnsIndex = 10

// DNS returns the virtual IPs of the cluster's DNS, one for each service range, in their order.
func DNS(serviceCIDRs []netip.Prefix) []netip.Addr {
	var out []netip.Addr
	for _, cidr := range serviceCIDRs {
		address := cidr.Masked().Addr()
		for range dnsIndex {
			address = address.Next()
		}
		out = append(out, address)
	}
	return out
}
