// SPDX-License-Identifier: Apache-2.0

package nftset

import (
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Conn asks and changes over one socket, for what takes several steps. It stays in the network namespace of the thread
// that dialed it.
type Conn struct{ socket *netlink.Conn }

// Dial opens a socket; the caller closes it.
func Dial() (*Conn, error) {
	socket, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, fmt.Errorf("open nftables: %w", err)
	}
	return &Conn{socket: socket}, nil
}

// Close closes the socket without waiting for it: the kernel ends that call when it has freed what was deleted before,
// which takes some 10 ms.
func (c *Conn) Close() {
	socket := c.socket
	go func() { _ = socket.Close() }()
}

// Commit is Batch's over this socket.
func (c *Conn) Commit(b *Batch) error {
	if b.err != nil || b.Empty() {
		return b.err
	}
	b.messages[len(b.messages)-1].Header.Flags |= netlink.Acknowledge
	all := append([]netlink.Message{boundary(unix.NFNL_MSG_BATCH_BEGIN)}, b.messages...)
	all = append(all, boundary(unix.NFNL_MSG_BATCH_END))
	if _, err := c.socket.SendMessages(all); err != nil {
		return fmt.Errorf("change nftables elements: %w", err)
	}
	// The first answer is an error of some message, or the acknowledgement of the last.
	if _, err := c.socket.Receive(); err != nil {
		return errors.Join(fmt.Errorf("change nftables elements: %w", err), c.redial())
	}
	return nil
}

// redial leaves behind what else was answered to a batch that failed.
func (c *Conn) redial() error {
	next, err := Dial()
	if err == nil {
		c.Close()
		c.socket = next.socket
	}
	return err
}

// Find looks elements up by their keys and returns those that are there, as they are. What expires counts as gone, and so
// does what is in a set or table that does not exist.
func (c *Conn) Find(list []In) ([]In, error) {
	have, err := c.find(list)
	var out []In
	for _, i := range have {
		if i.Element.expires == 0 {
			out = append(out, i)
		}
	}
	return out, err
}

// atOnce is how many answers surely fit into a socket's buffer.
const atOnce = 16

func (c *Conn) find(list []In) ([]In, error) {
	var out []In
	for len(list) > 0 {
		n := min(atOnce, len(list))
		some, err := c.findSome(list[:n])
		if err != nil {
			return nil, err
		}
		out, list = append(out, some...), list[n:]
	}
	return out, nil
}

func (c *Conn) findSome(list []In) ([]In, error) {
	var questions []netlink.Message
	for _, i := range list {
		m, err := message(unix.NFT_MSG_GETSETELEM, netlink.Request, i.Set, elements([]Element{{Key: i.Element.Key}}, false))
		if err != nil {
			return nil, err
		}
		questions = append(questions, m)
	}
	if _, err := c.socket.SendMessages(questions); err != nil {
		return nil, fmt.Errorf("get nftables elements: %w", err)
	}
	// There is one answer to each question, in order.
	var out []In
	for _, i := range list {
		found, err := c.answer()
		if err != nil {
			return nil, fmt.Errorf("get element of %s: %w", i.Set.Name, err)
		}
		for _, e := range found {
			out = append(out, In{Set: i.Set, Element: e})
		}
	}
	return out, nil
}

func (c *Conn) answer() ([]Element, error) {
	replies, err := c.socket.Receive()
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []Element
	for _, reply := range replies {
		out = append(out, decode(reply.Data)...)
	}
	return out, nil
}
