// SPDX-License-Identifier: Apache-2.0

package dataplane

import (
	"net/netip"
	"slices"
	"sync/atomic"
)

// Ranges are ranges of addresses that may change while dataplanes run. A dataplane takes them over when it compares everything.
// They are safe for concurrent use; nil has none.
type Ranges struct {
	list atomic.Pointer[[]netip.Prefix]
}

// NewRanges makes ranges that are these at first.
func NewRanges(list ...netip.Prefix) *Ranges {
	r := &Ranges{}
	r.Set(list)
	return r
}

// Set replaces them. Of ranges that lie within each other the widest is kept: sets of the kernel refuse overlapping ones.
func (r *Ranges) Set(list []netip.Prefix) {
	var widest []netip.Prefix
	masked := make([]netip.Prefix, len(list))
	for i, p := range list {
		masked[i] = p.Masked()
	}
	slices.SortFunc(masked, netip.Prefix.Compare) // of one address the widest is first
	for _, p := range masked {
		if n := len(widest); n == 0 || !widest[n-1].Contains(p.Addr()) {
			widest = append(widest, p)
		}
	}
	r.list.Store(&widest)
}

// List returns them as they are now, sorted; the list is never modified.
func (r *Ranges) List() []netip.Prefix {
	if r == nil {
		return nil
	}
	return *r.list.Load()
}

// Contains reports whether an address is in one of them now.
func (r *Ranges) Contains(addr netip.Addr) bool {
	return slices.ContainsFunc(r.List(), func(p netip.Prefix) bool { return p.Contains(addr) })
}
