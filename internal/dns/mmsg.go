// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"encoding/binary"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Sizes of a batch of datagrams.
const (
	batchSize   = 64
	receiveSize = 2048 // no sensible query is longer; a longer one is cut and refused as malformed
	controlSize = 64   // for the address that a packet was sent to
)

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
	_   [4]byte
}

// queued is a reply that waits to be sent.
type queued struct {
	to      int // the datagram whose sender gets it
	train   int
	message []byte
}

// System calls here wait for nothing. They are made without a word to the scheduler, which would wake a thread to watch
// over each.

// batch holds the memory that datagrams are received into and replies are sent from. One goroutine uses it.
type batch struct {
	raw syscall.RawConn

	in, out           [batchSize]mmsghdr
	inVec, outVec     [batchSize]unix.Iovec
	names             [batchSize]unix.RawSockaddrInet6
	control           [batchSize][controlSize]byte
	packets           [batchSize][receiveSize]byte
	replies           [batchSize][maxUDP]byte
	queue             [batchSize]queued
	received, replied int
	trains            trains
	warmth            warmth

	errno        syscall.Errno
	sent, sends  int                   // of out
	receive, put func(fd uintptr) bool // made once: a closure per call would be garbage
	get          func(i int) []byte    // packet
}

func newBatch(raw syscall.RawConn) *batch {
	b := &batch{raw: raw}
	for i := range b.in {
		b.inVec[i].Base = &b.packets[i][0]
		b.inVec[i].SetLen(receiveSize)
		h := &b.in[i].hdr
		h.Iov, h.Name = &b.inVec[i], (*byte)(unsafe.Pointer(&b.names[i]))
		h.SetIovlen(1)
		h.Control = &b.control[i][0]
		b.reset(i)
	}
	b.receive, b.put, b.get = b.recvmmsg, b.sendmmsg, b.packet
	return b
}

// read waits for datagrams and takes as many as are there. An error means that the socket was closed, or is of no use.
func (b *batch) read() error {
	for i := range b.received {
		b.reset(i)
	}
	b.received, b.replied = 0, 0
	if err := b.raw.Read(b.receive); err != nil {
		return err
	}
	if b.errno != 0 {
		return b.errno
	}
	return nil
}

// rest takes datagrams that are there already; false when there are none.
func (b *batch) rest() bool {
	for i := range b.received {
		b.reset(i)
	}
	b.received, b.replied = 0, 0
	err := b.raw.Control(func(fd uintptr) { b.recvmmsg(fd) })
	return err == nil && b.received > 0
}

// reset readies the head of datagram i for the kernel, which writes lengths into it.
func (b *batch) reset(i int) {
	h := &b.in[i].hdr
	h.Namelen = unix.SizeofSockaddrInet6
	h.SetControllen(controlSize)
	h.Flags = 0
}

func (b *batch) recvmmsg(fd uintptr) bool {
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&b.in[0])), batchSize, unix.MSG_DONTWAIT, 0, 0)
	if errno == unix.EAGAIN {
		return false
	}
	b.errno = errno
	switch errno {
	case 0:
		b.received = int(n)
	case unix.EINTR, unix.ECONNREFUSED, unix.EHOSTUNREACH, unix.ENETUNREACH:
		b.errno = 0 // about a reply that was sent before
	}
	return true
}

// packet returns datagram i, valid until the next read.
func (b *batch) packet(i int) []byte { return b.packets[i][:b.in[i].n] }

// client returns where datagram i came from.
func (b *batch) client(i int) netip.AddrPort {
	name := &b.names[i]
	port := binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&name.Port))[:])
	if name.Family == unix.AF_INET {
		four := (*unix.RawSockaddrInet4)(unsafe.Pointer(name))
		return netip.AddrPortFrom(netip.AddrFrom4(four.Addr), port)
	}
	return netip.AddrPortFrom(netip.AddrFrom16(name.Addr).Unmap(), port)
}

// replyBuffer returns the memory for the reply to datagram i.
func (b *batch) replyBuffer(i int) []byte { return b.replies[i][:] }

// reply queues a reply to datagram i. It is sent from the address that the datagram was sent to.
func (b *batch) reply(i int, message []byte) {
	b.queue[b.replied] = queued{to: i, message: message}
	b.replied++
}

// flush sends the replies that are queued. One that cannot be sent is dropped, as the network might have done.
func (b *batch) flush() error {
	b.couple()
	b.sent = 0
	for b.sent < b.sends {
		if err := b.raw.Write(b.put); err != nil {
			return err
		}
		switch {
		case b.errno == 0 || b.errno == unix.EINTR:
		case b.uncouple():
			b.sent = 0
		default:
			b.sent++
		}
	}
	b.replied = 0
	return nil
}

func (b *batch) sendmmsg(fd uintptr) bool {
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&b.out[b.sent])), uintptr(b.sends-b.sent), unix.MSG_DONTWAIT, 0, 0)
	if errno == unix.EAGAIN {
		return false
	}
	if b.errno = errno; errno == 0 {
		b.sent += int(n)
	}
	return true
}

// way is how a reply that is sent by itself gets to a client: from the address that the client asked.
type way struct {
	raw     syscall.RawConn
	name    unix.RawSockaddrInet6
	nameLen uint32
	control [controlSize]byte
	length  int // of control
}

// back returns the way to the sender of datagram i.
func (b *batch) back(i int) *way {
	h := &b.in[i].hdr
	w := &way{raw: b.raw, name: b.names[i], nameLen: h.Namelen, length: int(h.Controllen)}
	copy(w.control[:], b.control[i][:w.length])
	return w
}

// send sends a reply.
func (w *way) send(message []byte) error {
	vec := unix.Iovec{Base: &message[0]}
	vec.SetLen(len(message))
	h := unix.Msghdr{Name: (*byte)(unsafe.Pointer(&w.name)), Namelen: w.nameLen, Iov: &vec}
	h.SetIovlen(1)
	if w.length > 0 {
		h.Control = &w.control[0]
		h.SetControllen(w.length)
	}
	var errno syscall.Errno
	err := w.raw.Write(func(fd uintptr) bool {
		_, _, errno = unix.RawSyscall(unix.SYS_SENDMSG, fd, uintptr(unsafe.Pointer(&h)), unix.MSG_DONTWAIT)
		return errno != unix.EAGAIN
	})
	if err == nil && errno != 0 {
		return errno
	}
	return err
}
