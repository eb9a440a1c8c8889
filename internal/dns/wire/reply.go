// SPDX-License-Identifier: Apache-2.0

package wire

import "encoding/binary"

// optLen is the length of an OPT record without options.
const optLen = 11

// Section of a message that records are counted in.
type Section int

// The sections of a reply, in the order in which they must be written.
const (
	Answer Section = iota
	Authority
	Additional
)

// Reply is a message under construction. It is reused from packet to packet.
type Reply struct {
	Buf       []byte // the message so far
	limit     int
	count     [3]uint16
	truncated bool
}

// Begin starts the reply to q, whose packet is p, in buf, which is overwritten, and which is left for new memory where
// it is too short. The message will never be longer than limit.
func (r *Reply) Begin(q *Query, p, buf []byte, limit int) {
	r.Buf = append(buf[:0], p[:q.End]...)
	r.count, r.truncated = [3]uint16{}, false
	r.limit = limit
	if q.EDNS {
		r.limit -= optLen
	}
}

// Room returns how many bytes still fit.
func (r *Reply) Room() int { return r.limit - len(r.Buf) }

// Fits reports whether n more bytes fit.
func (r *Reply) Fits(n int) bool { return len(r.Buf)+n <= r.limit }

// Count adds n records to a section's count; their bytes were appended to Buf.
func (r *Reply) Count(s Section, n int) { r.count[s] += uint16(n) }

// Truncate notes that records of the answer were left out for want of room.
func (r *Reply) Truncate() { r.truncated = true }

// Truncated reports whether Truncate was called.
func (r *Reply) Truncated() bool { return r.truncated }

// Head appends a record's head: an owner that is a pointer to offset owner, type, class IN, TTL, and the data's length.
func (r *Reply) Head(owner int, rrtype uint16, ttl uint32, dataLen int) {
	r.Pointer(owner)
	r.Fields(rrtype, ttl, dataLen)
}

// Fields appends what follows a record's owner: type, class IN, TTL, and the data's length.
func (r *Reply) Fields(rrtype uint16, ttl uint32, dataLen int) {
	r.Buf = binary.BigEndian.AppendUint16(r.Buf, rrtype)
	r.Buf = binary.BigEndian.AppendUint16(r.Buf, ClassIN)
	r.Buf = binary.BigEndian.AppendUint32(r.Buf, ttl)
	r.Buf = binary.BigEndian.AppendUint16(r.Buf, uint16(dataLen))
}

// Pointer appends a compression pointer to an offset of the message.
func (r *Reply) Pointer(offset int) {
	r.Buf = append(r.Buf, 0xc0|byte(offset>>8), byte(offset))
}

// Finish writes the header and, for a query with EDNS, the OPT record with our own buffer size, and returns the
// message. flags are added to QR and what is copied from the query (RD, CD).
func (r *Reply) Finish(q *Query, rcode, flags, udpSize uint16) []byte {
	if r.truncated {
		flags |= FlagTC
	}
	if q.EDNS {
		r.opt(q, rcode, udpSize)
	}
	questions := uint16(0)
	if q.End > HeaderLen {
		questions = 1
	}
	h := r.Buf[:HeaderLen]
	binary.BigEndian.PutUint16(h, q.ID)
	copied := q.Flags & (FlagRD | FlagCD | 0xf<<11)
	binary.BigEndian.PutUint16(h[2:], FlagQR|copied|flags|rcode&0xf)
	binary.BigEndian.PutUint16(h[4:], questions)
	binary.BigEndian.PutUint16(h[6:], r.count[Answer])
	binary.BigEndian.PutUint16(h[8:], r.count[Authority])
	binary.BigEndian.PutUint16(h[10:], r.count[Additional])
	return r.Buf
}

func (r *Reply) opt(q *Query, rcode, udpSize uint16) {
	var do byte
	if q.DO {
		do = 0x80
	}
	r.Buf = append(r.Buf, 0, 0, TypeOPT, byte(udpSize>>8), byte(udpSize), byte(rcode>>4), 0, do, 0, 0, 0)
	r.count[Additional]++
}
