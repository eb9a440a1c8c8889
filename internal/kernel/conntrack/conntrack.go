// SPDX-License-Identifier: Apache-2.0

// Package conntrack removes connection tracking entries, for whoever took away what they point to.
package conntrack

import (
	"context"
	"fmt"
	"net/netip"
	"sync"

	"github.com/vishvananda/netlink"

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

// FewRoutes is up to how many routes the kernel is asked for each, and not for all entries of the protocol at once.
const FewRoutes = 4

// Selection says which entries are to be removed.
type Selection struct {
	Protocol   uint8
	Translated bool // only those that are answered by another than the client asked
	// Routes are the only ones whose entries are looked at. What one of them leaves out, or an unspecified address or port 0 in it, stands for any; both sides
	// are of one family. None stands for all.
	Routes []Entry
	Stale  func(Entry) bool // of those
}

// Delete removes what is selected, and returns how many entries that were. The kernel sends no others than it is asked
// for, and they are looked at and removed while they come: memory follows neither what there is nor what is removed.
func (c *Conn) Delete(ctx context.Context, which Selection) (int, error) {
	s, err := c.take()
	if err != nil {
		return 0, err
	}
	d := dump{conn: c, sockets: s, which: which}
	for _, d.route = range passes(which.Routes) {
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
