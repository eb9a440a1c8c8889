// SPDX-License-Identifier: Apache-2.0

// Package nfnetlink asks the kernel's netfilter for long lists, and sends it many short requests, at little cost for each.
package nfnetlink

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// ErrDisturbed says that something changed while it was listed.
var ErrDisturbed = errors.New("changed while it was listed")

const (
	familyBytes  = 4       // struct nfgenmsg
	bufferBytes  = 1 << 16 // the kernel fills half of it at most
	receiveBytes = 1 << 20
	longestPause = 30 // seconds: a kernel that says nothing for so long does not answer any more
)

// Conn is a socket. Its buffer is used again: a client of netlink that makes one for each answer takes most of the time of 100,000
// short answers. It is not safe for concurrent use, and of no use after an error.
type Conn struct {
	fd       int
	sequence uint32
	buffer   []byte
}

// Dial opens a socket in the thread's network namespace.
func Dial() (*Conn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket to netfilter: %w", err)
	}
	err = errors.Join(unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: longestPause}),
		unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1),
		unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, receiveBytes))
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("set up a netlink socket to netfilter: %w", err)
	}
	return &Conn{fd: fd, buffer: make([]byte, bufferBytes)}, nil
}

// Close closes the socket.
func (c *Conn) Close() { unix.Close(c.fd) }

// Request is one message: what is asked of which part of netfilter, about a family, with attributes.
type Request struct {
	Subsystem, Operation uint8
	Family               uint8
	Attributes           []byte
}

// message appends the request to others.
func (r Request) message(to []byte, flags uint16, sequence uint32) []byte {
	to = binary.NativeEndian.AppendUint32(to, uint32(unix.NLMSG_HDRLEN+familyBytes+len(r.Attributes)))
	to = binary.NativeEndian.AppendUint16(to, uint16(r.Subsystem)<<8|uint16(r.Operation))
	to = binary.NativeEndian.AppendUint16(to, unix.NLM_F_REQUEST|flags)
	to = binary.NativeEndian.AppendUint32(to, sequence)
	to = append(to, 0, 0, 0, 0, r.Family, unix.NFNETLINK_V0, 0, 0)
	to = append(to, r.Attributes...)
	return append(to, make([]byte, (4-len(to)%4)%4)...)
}

// Dump hands what the kernel lists to each, without headers. The slice that it gets is its own until it returns; an error ends the
// list.
func (c *Conn) Dump(r Request, each func(attributes []byte) error) error {
	c.sequence++
	if err := c.send(r.message(nil, unix.NLM_F_DUMP, c.sequence)); err != nil {
		return err
	}
	var failed error // what follows is read all the same, and the socket can be used again
	for done := false; !done; {
		err := c.receive(func(m message) error {
			switch {
			case m.sequence != c.sequence:
			case m.kind == unix.NLMSG_DONE:
				done = true
			case m.kind == unix.NLMSG_ERROR:
				done = true
				return m.err()
			case m.flags&unix.NLM_F_DUMP_INTR != 0 && failed == nil:
				failed = ErrDisturbed
			case failed == nil && len(m.body) > familyBytes:
				failed = each(m.body[familyBytes:])
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return failed
}

// Ask sends a request and hands the answers to each, without headers, until the kernel acknowledges it.
func (c *Conn) Ask(r Request, each func(attributes []byte) error) error {
	c.sequence++
	if err := c.send(r.message(nil, unix.NLM_F_ACK, c.sequence)); err != nil {
		return err
	}
	for done := false; !done; {
		err := c.receive(func(m message) error {
			switch {
			case m.sequence != c.sequence:
			case m.kind == unix.NLMSG_ERROR:
				done = true
				return m.err()
			case len(m.body) > familyBytes:
				return each(m.body[familyBytes:])
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// most is how many requests are sent together: the errors of all of them fit into the socket.
const most = 256

// Each sends requests, many with one system call, and tells failed of every error, which may return nil to go on.
func (c *Conn) Each(requests []Request, failed func(error) error) error {
	for len(requests) > 0 {
		now := requests[:min(most, len(requests))]
		requests = requests[len(now):]
		var data []byte
		for i, r := range now {
			c.sequence++
			flags := uint16(0)
			if i == len(now)-1 {
				flags = unix.NLM_F_ACK // the kernel answers in turn: then all are done
			}
			data = r.message(data, flags, c.sequence)
		}
		if err := c.send(data); err != nil {
			return err
		}
		for done := false; !done; {
			err := c.receive(func(m message) error {
				if m.kind != unix.NLMSG_ERROR {
					return nil
				}
				done = done || m.sequence == c.sequence
				if err := m.err(); err != nil {
					return failed(err)
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *Conn) send(data []byte) error {
	if err := unix.Sendto(c.fd, data, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("send to netfilter: %w", err)
	}
	return nil
}

// message is one of the kernel's.
type message struct {
	kind, flags uint16
	sequence    uint32
	body        []byte
}

// err returns what a message of the kind NLMSG_ERROR says.
func (m message) err() error {
	if len(m.body) < 4 {
		return errCut
	}
	if code := int32(binary.NativeEndian.Uint32(m.body)); code != 0 {
		return unix.Errno(-code)
	}
	return nil
}

var errCut = errors.New("read the answer of netfilter: it is cut off")

// receive reads some messages.
func (c *Conn) receive(each func(message) error) error {
	size, _, err := unix.Recvfrom(c.fd, c.buffer, 0)
	if errors.Is(err, unix.EINTR) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the answer of netfilter: %w", err)
	}
	for data := c.buffer[:size]; len(data) >= unix.NLMSG_HDRLEN; {
		length := int(binary.NativeEndian.Uint32(data))
		if length < unix.NLMSG_HDRLEN || length > len(data) {
			return errCut
		}
		m := message{
			kind: binary.NativeEndian.Uint16(data[4:]), flags: binary.NativeEndian.Uint16(data[6:]),
			sequence: binary.NativeEndian.Uint32(data[8:]), body: data[unix.NLMSG_HDRLEN:length],
		}
		if err := each(m); err != nil {
			return err
		}
		data = data[min((length+3)&^3, len(data)):]
	}
	return nil
}
