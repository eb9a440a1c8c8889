// SPDX-License-Identifier: Apache-2.0

package table

import (
	"net/netip"
	"strings"
)

// Egress says which packets of this node's pods leave the cluster and so get the node's address as their source. There
// is one row; its key is the node's name.
type Egress struct {
	Object  Object         // this Node
	Sources []netip.Prefix // this node's pods, sorted
	Inside  []netip.Prefix // destinations that see the pods' own addresses: pods, nodes, services; sorted
}

// Header returns the titles of the columns that Columns fills.
func (Egress) Header() []string { return []string{"NODE", "SOURCES", "NOT TO"} }

// Columns returns the row's one line.
func (e Egress) Columns() [][]string {
	return [][]string{{e.Object.Name, prefixes(e.Sources), prefixes(e.Inside)}}
}

func prefixes(list []netip.Prefix) string {
	texts := make([]string, len(list))
	for i, p := range list {
		texts[i] = p.String()
	}
	return strings.Join(texts, ",")
}
