// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"eastwest/internal/kernel/nfnetlink"
)

// dump is one pass over the entries of a family and route.
type dump struct {
	conn    *Conn
	sockets *sockets
	which   Selection
	route   Entry
	waiting []nfnetlink.Request // to be removed
	removed int
}

// passes returns the routes of passes that see every entry of these.
func passes(routes []Entry) []Entry {
	if len(routes) > 0 && len(routes) <= FewRoutes {
		return routes
	}
	return []Entry{{To: netip.AddrPortFrom(netip.IPv4Unspecified(), 0)}, {To: netip.AddrPortFrom(netip.IPv6Unspecified(), 0)}}
}

func (d *dump) family() uint8 {
	if d.route.To.Addr().Is4() || d.route.Endpoint.Addr().Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// together is how many entries are removed at once.
const together = 256

func (d *dump) delete(ctx context.Context) (err error) {
	if done, err := d.sweep(); done || err != nil {
		return err
	}
	for range attempts {
		err = d.list(func(message []byte) error {
			if d.waiting = append(d.waiting, d.request(nl.IPCTNL_MSG_CT_DELETE, keyOf(message))); len(d.waiting) < together {
				return nil
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return d.flush()
		})
		if err == nil || errors.Is(err, nfnetlink.ErrDisturbed) {
			if failed := d.flush(); failed != nil {
				return failed
			}
		}
		if err == nil {
			return nil
		}
		if !errors.Is(err, nfnetlink.ErrDisturbed) {
			return fmt.Errorf("list conntrack entries: %w", err)
		}
	}
	return nil // a table that never holds still was gone over several times: nothing old is left in it
}

// flush removes what waits for that. What is gone already is no error.
func (d *dump) flush() error {
	d.removed += len(d.waiting)
	err := d.sockets.remove.Each(d.waiting, func(err error) error {
		if d.removed--; errors.Is(err, unix.ENOENT) {
			return nil
		}
		return fmt.Errorf("delete conntrack entry: %w", err)
	})
	d.waiting = d.waiting[:0]
	return err
}

// crowded is from how many entries in the kernel's table the kernel itself removes those of a route.
const crowded = 50_000

// sweep has the kernel remove all entries of the route, in a quarter of the time, where it can (since 6.12), where they are all alike,
// and where that is worth it: it does not tell how many they were, so that this is how many fewer there are than before.
func (d *dump) sweep() (done bool, err error) {
	if !d.route.exact() {
		return false, nil
	}
	before, err := d.conn.count()
	if err != nil || before < crowded || !d.which.Stale(d.route) {
		return false, err
	}
	request := d.request(nl.IPCTNL_MSG_CT_DELETE, filterFor(d.which.Protocol, d.which.Translated, d.route))
	done = true
	err = d.sockets.remove.Each([]nfnetlink.Request{request}, func(err error) error {
		if done = false; errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) {
			return nil // an older kernel takes it for the name of one entry, and misses the rest of that
		}
		return fmt.Errorf("delete conntrack entries of %s answered by %s: %w", d.route.To, d.route.Endpoint, err)
	})
	if !done || err != nil {
		return done, err
	}
	after, err := d.conn.count()
	d.removed += max(before-after, 0)
	return true, err
}

// exact reports whether all entries of a route are alike, and the kernel can tell them from others.
func (e Entry) exact() bool {
	side := func(a netip.AddrPort) bool { return a.Addr().Is4() && !a.Addr().IsUnspecified() && a.Port() != 0 }
	return side(e.To) && side(e.Endpoint)
}

// covers reports whether an entry is one of a route.
func (e Entry) covers(entry Entry) bool {
	side := func(like, have netip.AddrPort) bool {
		addr := like.Addr()
		return (!addr.IsValid() || addr.IsUnspecified() || addr == have.Addr()) && (like.Port() == 0 || like.Port() == have.Port())
	}
	return side(e.To, entry.To) && side(e.Endpoint, entry.Endpoint)
}

// list asks for the entries of the pass, but may be sent more: a kernel before 5.8 sends all of the family.
func (d *dump) list(stale func(message []byte) error) error {
	filter := filterFor(d.which.Protocol, d.which.Translated, d.route)
	return d.sockets.list.Dump(d.request(nl.IPCTNL_MSG_CT_GET, filter), func(message []byte) error {
		entry, protocol, ok := parse(message)
		if ok && protocol == d.which.Protocol && d.route.covers(entry) && !(d.which.Translated && entry.To == entry.Endpoint) && d.which.Stale(entry) {
			return stale(message)
		}
		return nil
	})
}

func (d *dump) request(operation uint8, attributes []byte) nfnetlink.Request {
	return nfnetlink.Request{Subsystem: unix.NFNL_SUBSYS_CTNETLINK, Operation: operation, Family: d.family(), Attributes: attributes}
}
