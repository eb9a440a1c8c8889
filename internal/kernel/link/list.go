// SPDX-License-Identifier: Apache-2.0

package link

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
)

// attempts bounds how often a list is asked again; each attempt is interrupted only if the namespace changed during it.
const attempts = 32

func consistent[T any](what string, list func() ([]T, error)) ([]T, error) {
	for range attempts {
		got, err := list()
		if err == nil {
			return got, nil
		}
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			return nil, fmt.Errorf("list %s: %w", what, err)
		}
	}
	return nil, fmt.Errorf("list %s: changed during each of %d attempts: %w", what, attempts, netlink.ErrDumpInterrupted)
}

// LinkList returns every link of the namespace.
func (h *Handle) LinkList() ([]netlink.Link, error) {
	return consistent("links", h.Handle.LinkList)
}

// AddrList returns the addresses of a link, or of all links if l is nil; family is netlink.FAMILY_V4, V6 or ALL.
func (h *Handle) AddrList(l netlink.Link, family int) ([]netlink.Addr, error) {
	return consistent("addresses", func() ([]netlink.Addr, error) { return h.Handle.AddrList(l, family) })
}

// RouteList returns the main table's routes over a link, or over all links if l is nil.
func (h *Handle) RouteList(l netlink.Link, family int) ([]netlink.Route, error) {
	return consistent("routes", func() ([]netlink.Route, error) { return h.Handle.RouteList(l, family) })
}

// RouteListFiltered returns the routes that match a filter in the fields named by mask (netlink.RT_FILTER_…).
func (h *Handle) RouteListFiltered(family int, filter *netlink.Route, mask uint64) ([]netlink.Route, error) {
	return consistent("routes", func() ([]netlink.Route, error) { return h.Handle.RouteListFiltered(family, filter, mask) })
}

// NeighList returns the neighbour entries of a link, or of all links if index is 0.
func (h *Handle) NeighList(index, family int) ([]netlink.Neigh, error) {
	return consistent("neighbours", func() ([]netlink.Neigh, error) { return h.Handle.NeighList(index, family) })
}
