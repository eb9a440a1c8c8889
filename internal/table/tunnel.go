// SPDX-License-Identifier: Apache-2.0

package table

import (
	"fmt"
	"net/netip"
)

// MAC is an Ethernet address.
type MAC [6]byte

// String writes it as everybody does.
func (m MAC) String() string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5])
}

// Tunnel is a node's end of the overlay, by which nodes reach each other's pods inside VXLAN (RFC 7348). There is a row
// for every node that may send to this one, and one for this node itself; the key is the node's name.
type Tunnel struct {
	Object  Object
	Self    bool       // this node's own end
	Address netip.Addr // of the node, between which encapsulated packets travel; all rows are of one family
	MAC     MAC        // of the end inside the overlay
	// Pods are the pod CIDRs behind the end. Of a node that is reached without the overlay there are none here: its packets
	// are accepted all the same, since it may see this node as further away.
	Pods []netip.Prefix
}

// Gateway is the address of the end inside the overlay for one of its pod CIDRs: the network's own, which no pod gets.
func Gateway(pods netip.Prefix) netip.Addr { return pods.Masked().Addr() }

// Header returns the titles of the columns that Columns fills.
func (Tunnel) Header() []string { return []string{"NODE", "ADDRESS", "MAC", "PODS"} }

// Columns returns the row's one line.
func (t Tunnel) Columns() [][]string {
	return [][]string{{t.Object.Name, t.Address.String(), t.MAC.String(), prefixes(t.Pods)}}
}
