// SPDX-License-Identifier: Apache-2.0

// Package conntrack removes connection tracking entries, for whoever took away what they point to.
package conntrack

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"eastwest/internal/kernel/netns"
	"eastwest/internal/kernel/nfnetlink"
)

// Entry is what matters of one connection.
type Entry struct {
	To       netip.AddrPort // where the client sends to
	Endpoint netip.AddrPort // who answers: the same when the connection is not translated
}

// Conn talks to the connection tracking of one network namespace. It is safe for concurrent use.
type Conn struct {
	netns string

	mu   sync.Mutex
	idle *sockets // kept from one use to the next; nil when there are none or somebody has them
}

// sockets are two: entries are deleted while others are listed.
type sockets struct{ list, remove *nfnetlink.Conn }

func (s *sockets) close() {
	s.list.Close()
	s.remove.Close()
}

// New makes a connection to the network namespace at path, or to the program's own when path is empty.
func New(path string) *Conn { return &Conn{netns: path} }

// attempts is how often a listing is repeated that the kernel says was disturbed.
const attempts = 5

// fewPlaces is up to how many places the kernel is asked for each, and not for all entries of the protocol at once.
const fewPlaces = 16

// Delete removes the entries of a protocol that are stale, and returns how many. Only entries to the places of to are
// looked at: of a place with an unspecified address, those to its port at any address of its family; without places, all.
// The kernel sends no others, and they are looked at and removed while they come: memory follows neither what there is nor what is
// removed.
func (c *Conn) Delete(ctx context.Context, protocol uint8, to []netip.AddrPort, stale func(Entry) bool) (int, error) {
	s, err := c.take()
	if err != nil {
		return 0, err
	}
	d := dump{sockets: s, protocol: protocol, stale: stale}
	for _, d.to = range placesOf(to) {
		if err := d.delete(ctx); err != nil {
			s.close() // answers may be left in them
			return d.removed, err
		}
	}
	c.giveBack(s)
	return d.removed, nil
}

// take returns sockets in the namespace that nobody else uses. Closing one after each use would take 10 ms where nftables were
// changed just before: the kernel lets whoever closes a netfilter socket wait until it has freed what was deleted.
func (c *Conn) take() (s *sockets, err error) {
	c.mu.Lock()
	s, c.idle = c.idle, nil
	c.mu.Unlock()
	if s != nil {
		return s, nil
	}
	s = &sockets{}
	err = c.do(func() (err error) {
		if s.list, err = nfnetlink.Dial(); err != nil {
			return err
		}
		if s.remove, err = nfnetlink.Dial(); err != nil {
			s.list.Close()
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open sockets to connection tracking: %w", err)
	}
	return s, nil
}

func (c *Conn) giveBack(s *sockets) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.idle != nil {
		s.close()
		return
	}
	c.idle = s
}

// Addresses returns the addresses of the namespace's own interfaces.
func (c *Conn) Addresses(context.Context) (map[netip.Addr]bool, error) {
	own := map[netip.Addr]bool{}
	err := c.do(func() error {
		list, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
		for _, a := range list {
			if addr, ok := netip.AddrFromSlice(a.IP); ok {
				own[addr.Unmap()] = true
			}
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list addresses of this node: %w", err)
	}
	return own, nil
}

func (c *Conn) do(fn func() error) error {
	if c.netns == "" {
		return fn()
	}
	return netns.Do(c.netns, fn)
}

// dump is one pass over the entries of a family and protocol.
type dump struct {
	sockets  *sockets
	protocol uint8
	to       netip.AddrPort // an unspecified address or port 0 stands for every one
	stale    func(Entry) bool
	waiting  []nfnetlink.Request // to be removed
	removed  int
}

// placesOf returns the passes that see every entry to these places.
func placesOf(to []netip.AddrPort) []netip.AddrPort {
	if len(to) > 0 && len(to) <= fewPlaces {
		return to
	}
	return []netip.AddrPort{netip.AddrPortFrom(netip.IPv4Unspecified(), 0), netip.AddrPortFrom(netip.IPv6Unspecified(), 0)}
}

func (d *dump) family() uint8 {
	if d.to.Addr().Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// together is how many entries are removed at once.
const together = 256

func (d *dump) delete(ctx context.Context) (err error) {
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

func (d *dump) covers(to netip.AddrPort) bool {
	return (d.to.Addr().IsUnspecified() || d.to.Addr() == to.Addr()) && (d.to.Port() == 0 || d.to.Port() == to.Port())
}

// list asks for the entries of the pass, but may be sent more: a kernel before 5.8 sends all of the family.
func (d *dump) list(stale func(message []byte) error) error {
	return d.sockets.list.Dump(d.request(nl.IPCTNL_MSG_CT_GET, filterFor(d.protocol, d.to)), func(message []byte) error {
		entry, protocol, ok := parse(message)
		if ok && protocol == d.protocol && d.covers(entry.To) && d.stale(entry) {
			return stale(message)
		}
		return nil
	})
}

func (d *dump) request(operation uint8, attributes []byte) nfnetlink.Request {
	return nfnetlink.Request{Subsystem: unix.NFNL_SUBSYS_CTNETLINK, Operation: operation, Family: d.family(), Attributes: attributes}
}
