// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"bytes"
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Replies to one client that have one length go to the kernel as one message, a train, which it cuts into datagrams
// (UDP_SEGMENT, Linux 4.18). Routing, netfilter and the device are then passed once a train, and they are most of what a
// reply costs.
const (
	maxTrain    = 60_000 // bytes: a message has less than 64 KiB
	looksBack   = 16     // trains that a reply looks for its own in
	segmentSize = 24     // of the control message that says how long a datagram is: CMSG_SPACE(2)
)

// trains are those of one batch.
type trains struct {
	all     [batchSize]train
	n       int
	control [batchSize][controlSize + segmentSize]byte
	refused bool // by the kernel: every reply goes by itself
}

type train struct {
	to       int // the first datagram whose sender gets it
	size     int // of every datagram but the last
	bytes    int
	n, first int  // datagrams, and the first one's vector
	ended    bool // by a datagram that is shorter than the others
}

// couple makes messages of the queued replies.
func (b *batch) couple() {
	b.trains.n = 0
	for k := range b.replied {
		q := &b.queue[k]
		q.train = b.trainOf(q)
		b.trains.all[q.train].take(len(q.message))
	}
	at := 0
	for k := range b.trains.n {
		t := &b.trains.all[k]
		t.first, at = at, at+t.n
		b.address(k, t)
		t.n = 0 // counts the vectors that are in place
	}
	for k := range b.replied {
		q := &b.queue[k]
		t := &b.trains.all[q.train]
		vec := &b.outVec[t.first+t.n]
		vec.Base = &q.message[0]
		vec.SetLen(len(q.message))
		t.n++
	}
	b.sends = b.trains.n
}

// trainOf returns the train that a reply goes with: one of the last, or a new one.
func (b *batch) trainOf(q *queued) int {
	ts := &b.trains
	for k := ts.n - 1; k >= max(0, ts.n-looksBack) && !ts.refused; k-- {
		t := &ts.all[k]
		if !t.ended && len(q.message) <= t.size && t.bytes+len(q.message) <= maxTrain && b.together(t.to, q.to) {
			return k
		}
	}
	ts.all[ts.n] = train{to: q.to, size: len(q.message)}
	ts.n++
	return ts.n - 1
}

func (t *train) take(size int) {
	t.ended = size < t.size
	t.n++
	t.bytes += size
}

// together reports whether two datagrams have one sender, and were sent to one address.
func (b *batch) together(i, j int) bool {
	n, m := b.in[i].hdr.Controllen, b.in[j].hdr.Controllen
	return b.names[i] == b.names[j] && n == m && bytes.Equal(b.control[i][:n], b.control[j][:m])
}

// address writes the head of message k: its client, the address it is from, and how long its datagrams are.
func (b *batch) address(k int, t *train) {
	from, to := &b.in[t.to].hdr, &b.out[k].hdr
	to.Name, to.Namelen = from.Name, from.Namelen
	to.Iov = &b.outVec[t.first]
	to.SetIovlen(t.n)
	to.Control, to.Controllen = nil, 0
	if from.Controllen > 0 {
		to.Control, to.Controllen = from.Control, from.Controllen
	}
	if t.n == 1 {
		return
	}
	control := &b.trains.control[k]
	at := copy(control[:controlSize], b.control[t.to][:from.Controllen])
	head := (*unix.Cmsghdr)(unsafe.Pointer(&control[at]))
	head.Level, head.Type = unix.IPPROTO_UDP, unix.UDP_SEGMENT
	head.SetLen(unix.CmsgLen(2))
	binary.NativeEndian.PutUint16(control[at+unix.CmsgLen(0):], uint16(t.size))
	to.Control = &control[0]
	to.SetControllen(at + segmentSize)
}

// uncouple is called when a message could not be sent. If that was because the kernel, or the way to the client, takes no
// trains, it makes messages of one reply each from those that were not sent yet, and no trains any more.
func (b *batch) uncouple() bool {
	if b.trains.all[b.sent].n == 1 {
		return false
	}
	switch b.errno {
	case unix.EINVAL, unix.EIO, unix.EMSGSIZE, unix.EOPNOTSUPP:
	default:
		return false
	}
	b.trains.refused = true
	left := 0
	for k := range b.replied {
		if q := b.queue[k]; q.train >= b.sent {
			b.queue[left] = q
			left++
		}
	}
	b.replied = left
	b.couple()
	return true
}
