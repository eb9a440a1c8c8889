// SPDX-License-Identifier: Apache-2.0

// Package conntrack removes connection tracking entries, for whoever took away what they point to.
package conntrack

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"eastwest/internal/kernel/netns"
)

// Flow names the entries of one frontend that were translated to one endpoint.
type Flow struct {
	Protocol uint8
	To       netip.AddrPort // original destination; an unspecified address stands for every address
	Endpoint netip.AddrPort // where it was translated to; the zero value stands for "not translated at all"
}

// Conn talks to the connection tracking of one network namespace.
type Conn struct{ netns string }

// New makes a connection to the network namespace at path, or to the program's own when path is empty.
func New(path string) *Conn { return &Conn{netns: path} }

// Forget deletes the entries of the flows. It reads every entry of the families and protocols in question, so call it
// only when something is gone.
func (c *Conn) Forget(ctx context.Context, flows []Flow) error {
	if len(flows) == 0 {
		return nil
	}
	return c.do(func() error {
		var errs []error
		for _, family := range []netlink.InetFamily{unix.AF_INET, unix.AF_INET6} {
			filter := newFilter(flows, family == unix.AF_INET6)
			if len(filter) == 0 || ctx.Err() != nil {
				continue
			}
			if _, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, family, filter); err != nil {
				errs = append(errs, fmt.Errorf("delete conntrack entries of removed endpoints: %w", err))
			}
		}
		return errors.Join(append(errs, ctx.Err())...)
	})
}

func (c *Conn) do(fn func() error) error {
	if c.netns == "" {
		return fn()
	}
	return netns.Do(c.netns, fn)
}

// filter matches the entries of any of its flows.
type filter map[Flow]bool

var _ netlink.CustomConntrackFilter = filter(nil)

func newFilter(flows []Flow, ipv6 bool) filter {
	f := filter{}
	for _, flow := range flows {
		if flow.To.Addr().Is6() == ipv6 {
			f[flow] = true
		}
	}
	return f
}

// MatchConntrackFlow reports whether an entry is one of those to delete.
func (f filter) MatchConntrackFlow(entry *netlink.ConntrackFlow) bool {
	to, ok := netip.AddrFromSlice(entry.Forward.DstIP)
	if !ok {
		return false
	}
	endpoint, ok := netip.AddrFromSlice(entry.Reverse.SrcIP)
	if !ok {
		return false
	}
	to, endpoint = to.Unmap(), endpoint.Unmap()
	any := netip.IPv4Unspecified()
	if to.Is6() {
		any = netip.IPv6Unspecified()
	}
	at := Flow{
		Protocol: entry.Forward.Protocol,
		To:       netip.AddrPortFrom(to, entry.Forward.DstPort),
		Endpoint: netip.AddrPortFrom(endpoint, entry.Reverse.SrcPort),
	}
	if at.To == at.Endpoint {
		at.Endpoint = netip.AddrPort{}
	}
	if f[at] {
		return true
	}
	at.To = netip.AddrPortFrom(any, at.To.Port())
	return f[at]
}
