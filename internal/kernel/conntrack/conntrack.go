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
	idle *nl.SocketHandle // kept from one use to the next; nil when there is none or somebody has it
}

// New makes a connection to the network namespace at path, or to the program's own when path is empty.
func New(path string) *Conn { return &Conn{netns: path} }

// attempts is how often a listing is repeated that the kernel says was disturbed.
const attempts = 5

// fewPlaces is up to how many places the kernel is asked for each, and not for all entries of the protocol at once.
const fewPlaces = 16

// Delete removes the entries of a protocol that are stale, and returns how many. Only entries to the places of to are
// looked at: of a place with an unspecified address, those to its port at any address of its family; without places, all.
// The kernel sends no others, and they are looked at one by one as they come: memory follows what is removed and not
// what there is.
func (c *Conn) Delete(ctx context.Context, protocol uint8, to []netip.AddrPort, stale func(Entry) bool) (int, error) {
	socket, err := c.take()
	if err != nil {
		return 0, err
	}
	removed := 0
	d := dump{sockets: map[int]*nl.SocketHandle{unix.NETLINK_NETFILTER: socket}, protocol: protocol, stale: stale}
	for _, d.to = range placesOf(to) {
		n, err := d.delete(ctx)
		removed += n
		if err != nil {
			socket.Close() // answers may be left in it
			return removed, err
		}
	}
	c.giveBack(socket)
	return removed, nil
}

// take returns a socket in the namespace that nobody else uses. Closing one after each use would take 10 ms where nftables were
// changed just before: the kernel lets whoever closes a netfilter socket wait until it has freed what was deleted.
func (c *Conn) take() (socket *nl.SocketHandle, err error) {
	c.mu.Lock()
	socket, c.idle = c.idle, nil
	c.mu.Unlock()
	if socket != nil {
		return socket, nil
	}
	err = c.do(func() error {
		opened, err := nl.Subscribe(unix.NETLINK_NETFILTER)
		socket = &nl.SocketHandle{Socket: opened}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open netlink socket to conntrack: %w", err)
	}
	return socket, nil
}

func (c *Conn) giveBack(socket *nl.SocketHandle) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.idle != nil {
		socket.Close()
		return
	}
	c.idle = socket
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
	sockets  map[int]*nl.SocketHandle
	protocol uint8
	to       netip.AddrPort // an unspecified address or port 0 stands for every one
	stale    func(Entry) bool
}

// placesOf returns the passes that see every entry to these places.
func placesOf(to []netip.AddrPort) []netip.AddrPort {
	if len(to) > 0 && len(to) <= fewPlaces {
		return to
	}
	return []netip.AddrPort{netip.AddrPortFrom(netip.IPv4Unspecified(), 0), netip.AddrPortFrom(netip.IPv6Unspecified(), 0)}
}

func (d dump) family() uint8 {
	if d.to.Addr().Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

func (d dump) delete(ctx context.Context) (removed int, err error) {
	for range attempts {
		var keys [][]byte
		err = d.list(func(entry Entry, key []byte) {
			if d.stale(entry) {
				keys = append(keys, key)
			}
		})
		if err != nil && !errors.Is(err, nl.ErrDumpInterrupted) {
			return removed, fmt.Errorf("list conntrack entries: %w", err)
		}
		for _, key := range keys {
			if ctx.Err() != nil {
				return removed, ctx.Err()
			}
			request := d.request(nl.IPCTNL_MSG_CT_DELETE, unix.NLM_F_ACK)
			request.AddRawData(key)
			_, failed := request.Execute(unix.NETLINK_NETFILTER, 0)
			if failed != nil && !errors.Is(failed, unix.ENOENT) {
				return removed, fmt.Errorf("delete conntrack entry: %w", failed)
			}
			removed++
		}
		if err == nil {
			return removed, nil
		}
	}
	return removed, nil // a table that never holds still was gone over several times: nothing old is left in it
}

func (d dump) covers(to netip.AddrPort) bool {
	return (d.to.Addr().IsUnspecified() || d.to.Addr() == to.Addr()) && (d.to.Port() == 0 || d.to.Port() == to.Port())
}

// list asks for the entries of the pass, but may be sent more: a kernel before 5.8 sends all of the family.
func (d dump) list(each func(entry Entry, key []byte)) error {
	request := d.request(nl.IPCTNL_MSG_CT_GET, unix.NLM_F_DUMP)
	for _, attribute := range filterFor(d.protocol, d.to) {
		request.AddData(attribute)
	}
	return request.ExecuteIter(unix.NETLINK_NETFILTER, 0, func(message []byte) bool {
		if entry, protocol, key, ok := parse(message); ok && protocol == d.protocol && d.covers(entry.To) {
			each(entry, key)
		}
		return true
	})
}

func (d dump) request(operation, flags int) *nl.NetlinkRequest {
	request := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_CTNETLINK<<8|operation, flags)
	request.Sockets = d.sockets
	request.AddData(&nl.Nfgenmsg{NfgenFamily: d.family(), Version: nl.NFNETLINK_V0})
	return request
}
