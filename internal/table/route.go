// SPDX-License-Identifier: Apache-2.0

package table

import "net/netip"

// Route says how this node reaches the pods of another one; its key is the destination prefix.
type Route struct {
	Object      Object       // the Node whose pods these are
	Destination netip.Prefix // its pod CIDR
	Via         netip.Addr   // its address, of Destination's family
}

// Header returns the titles of the columns that Columns fills.
func (Route) Header() []string { return []string{"DESTINATION", "VIA", "NODE"} }

// Columns returns the row's one line.
func (r Route) Columns() [][]string {
	return [][]string{{r.Destination.String(), r.Via.String(), r.Object.Name}}
}
