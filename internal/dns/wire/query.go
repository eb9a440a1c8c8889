// SPDX-License-Identifier: Apache-2.0

package wire

import "encoding/binary"

// Verdict says what to do with a packet after Parse.
type Verdict int

const (
	// Good is a query to answer.
	Good Verdict = iota
	// Drop is no query at all (too short, or itself a response): answering it could start a loop.
	Drop
	// Bad is a query to answer at once with Query.Rcode.
	Bad
)

// Query is a parsed query packet. It is reused from packet to packet and holds no reference to it.
type Query struct {
	ID      uint16
	Flags   uint16 // the header's second word
	Rcode   uint16 // when the verdict is Bad
	Type    uint16
	Class   uint16
	End     int    // of the question in the packet; HeaderLen if the question could not be read
	EDNS    bool   // the packet had an OPT record
	DO      bool   // DNSSEC records are wanted
	UDPSize uint16 // bytes that the client takes, at least MinUDP

	Labels  int // number of labels, without the root
	nameLen int
	name    [MaxName]byte // lower case, wire form
	off     [MaxName/2 + 1]uint8
}

// Name returns the name in wire form and lower case, valid until the next Parse.
func (q *Query) Name() []byte { return q.name[:q.nameLen] }

// From returns the part of the name that begins with label i, in wire form; From(Labels) is the root.
func (q *Query) From(i int) []byte { return q.name[q.off[i]:q.nameLen] }

// Span returns the labels from i up to j in wire form, without a root.
func (q *Query) Span(i, j int) []byte { return q.name[q.off[i]:q.off[j]] }

// Label returns the text of label i in lower case.
func (q *Query) Label(i int) []byte { return q.name[q.off[i]+1 : q.off[i+1]] }

// Offset returns where label i stands in a message, for compression pointers.
func (q *Query) Offset(i int) int { return HeaderLen + int(q.off[i]) }

// Without makes into the same question about the name without the labels from i up to j.
func (q *Query) Without(into *Query, i, j int) {
	cut := q.off[j] - q.off[i]
	into.ID, into.Flags, into.Type, into.Class, into.DO = q.ID, q.Flags, q.Type, q.Class, q.DO
	into.Labels, into.nameLen = q.Labels-(j-i), q.nameLen-int(cut)
	copy(into.name[:], q.name[:q.off[i]])
	copy(into.name[q.off[i]:], q.name[q.off[j]:q.nameLen])
	copy(into.off[:], q.off[:i])
	for k := j; k <= q.Labels; k++ {
		into.off[k-(j-i)] = q.off[k] - cut
	}
}

// About returns a packet that asks the same about another name, given in wire form.
func (q *Query) About(name []byte) []byte {
	p := make([]byte, HeaderLen, HeaderLen+len(name)+4+optLen)
	binary.BigEndian.PutUint16(p, q.ID)
	binary.BigEndian.PutUint16(p[2:], FlagRD|q.Flags&FlagCD)
	p[5] = 1
	p = append(p, name...)
	p = binary.BigEndian.AppendUint16(p, q.Type)
	p = binary.BigEndian.AppendUint16(p, q.Class)
	if q.DO {
		p[11] = 1
		p = append(p, 0, 0, TypeOPT, 0xff, 0xff, 0, 0, 0x80, 0, 0, 0)
	}
	return p
}

// Parse reads a packet. The verdict Bad leaves the code to answer with in q.Rcode, and in q.End how much of the
// question may be repeated.
func (q *Query) Parse(p []byte) Verdict {
	q.Rcode, q.End, q.EDNS, q.DO, q.UDPSize, q.Type, q.Class = NoError, HeaderLen, false, false, MinUDP, 0, 0
	q.Labels, q.nameLen = 0, 0
	if len(p) < HeaderLen {
		return Drop
	}
	q.ID, q.Flags = binary.BigEndian.Uint16(p), binary.BigEndian.Uint16(p[2:])
	if q.Flags&FlagQR != 0 {
		return Drop
	}
	if opcode := q.Flags >> 11 & 0xf; opcode != 0 {
		q.parseUnknown(p)
		return q.bad(NotImp)
	}
	if binary.BigEndian.Uint16(p[4:]) != 1 || q.Flags&FlagTC != 0 {
		return q.bad(FormErr)
	}
	end, ok := q.parseName(p)
	if !ok || end+4 > len(p) {
		return q.bad(FormErr)
	}
	q.Type, q.Class = binary.BigEndian.Uint16(p[end:]), binary.BigEndian.Uint16(p[end+2:])
	q.End = end + 4
	return q.parseRest(p)
}

// parseUnknown looks for the OPT record of a packet that is no query, because the reply has to have one as well (RFC 6891, 6.1.1).
// All that is known of such packets looks like queries.
func (q *Query) parseUnknown(p []byte) {
	if end, ok := q.parseName(p); ok && end+4 <= len(p) && binary.BigEndian.Uint16(p[4:]) == 1 {
		q.End = end + 4
		q.parseRest(p)
	}
	q.End, q.Labels, q.nameLen = HeaderLen, 0, 0
}

func (q *Query) bad(rcode uint16) Verdict {
	q.Rcode = rcode
	return Bad
}

// parseName reads the question's name. A pointer is an error there: nothing stands before it to point to.
func (q *Query) parseName(p []byte) (end int, ok bool) {
	i, n := HeaderLen, 0
	for {
		if i >= len(p) {
			return 0, false
		}
		length := int(p[i])
		if length > 63 || i+1+length > len(p) || n+1+length > MaxName {
			return 0, false
		}
		q.off[q.Labels] = uint8(n)
		q.name[n] = byte(length)
		for j := 1; j <= length; j++ {
			q.name[n+j] = lower[p[i+j]]
		}
		i, n = i+1+length, n+1+length
		if length == 0 {
			q.nameLen = n
			return i, true
		}
		q.Labels++
	}
}

// parseRest walks the records behind the question and reads the OPT record among the additional ones.
func (q *Query) parseRest(p []byte) Verdict {
	before := int(binary.BigEndian.Uint16(p[6:])) + int(binary.BigEndian.Uint16(p[8:]))
	total := before + int(binary.BigEndian.Uint16(p[10:]))
	at := q.End
	for i := range total {
		rr, ok := ReadRecord(p, at)
		if !ok {
			return q.bad(FormErr)
		}
		if rr.Type == TypeOPT {
			if i < before || q.EDNS || p[at] != 0 {
				return q.bad(FormErr)
			}
			q.opt(rr)
		}
		at = rr.End
	}
	if at != len(p) {
		return q.bad(FormErr)
	}
	if q.Rcode != NoError {
		return Bad
	}
	return Good
}

// opt reads the fixed part of an OPT record (RFC 6891, 6.1.3). Options are left alone: none changes an answer.
func (q *Query) opt(rr Record) {
	q.EDNS, q.UDPSize, q.DO = true, max(rr.Class, MinUDP), rr.TTL&(1<<15) != 0
	if version := rr.TTL >> 16 & 0xff; version != 0 {
		q.Rcode = BadVers
	}
}

// lower maps ASCII capitals to small letters and leaves every other byte (RFC 4343).
var lower = func() (t [256]byte) {
	for i := range t {
		t[i] = byte(i)
		if i >= 'A' && i <= 'Z' {
			t[i] += 'a' - 'A'
		}
	}
	return t
}()
