// SPDX-License-Identifier: Apache-2.0

package table

import (
	"net/netip"
	"strings"
)

// Announcement says that this node is the one that answers on the nodes' network for the addresses of a load balancer. The
// key is the Service's namespace/name.
type Announcement struct {
	Object Object // the Service
	Addrs  []netip.Addr
}

// Header returns the titles of the columns that Columns fills.
func (Announcement) Header() []string { return []string{"SERVICE", "ADDRESSES"} }

// Columns returns the row's one line.
func (a Announcement) Columns() [][]string {
	texts := make([]string, len(a.Addrs))
	for i, address := range a.Addrs {
		texts[i] = address.String()
	}
	return [][]string{{a.Object.Namespace + "/" + a.Object.Name, strings.Join(texts, ",")}}
}
