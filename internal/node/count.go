// SPDX-License-Identifier: Apache-2.0

package node

import (
	"time"

	"eastwest/internal/snapshot"
)

// count tells the metrics what changed from one snapshot to the next. What happened before this program began says nothing
// about how fast it is.
func (n *Network) count(begin time.Time, before, now snapshot.Snapshot, changes snapshot.Changes) {
	m := n.config.Metrics
	if m == nil {
		return
	}
	services := 0
	for _, name := range changes.Services {
		old, _ := before.Services.Get(name)
		if service, _ := now.Services.Get(name); service != old {
			services++
		}
		known := map[string]*snapshot.Slice{}
		list, _ := before.Slices.Get(name)
		for _, slice := range list {
			known[slice.Name] = slice
		}
		list, _ = now.Slices.Get(name)
		for _, slice := range list {
			old := known[slice.Name]
			delete(known, slice.Name)
			if old == slice {
				continue
			}
			at := slice.Triggered
			if at.Before(begin) {
				at = time.Time{}
			}
			m.EndpointsChanged(slice.IPv6, at)
		}
		for _, gone := range known {
			m.EndpointsChanged(gone.IPv6, time.Time{})
		}
	}
	m.ServicesChanged(services)
}
