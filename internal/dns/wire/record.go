// SPDX-License-Identifier: Apache-2.0

package wire

import "encoding/binary"

// Record says where a resource record stands in a message, and its fixed fields.
type Record struct {
	NameEnd int // just behind the owner name: the type begins here
	Data    int // first byte of the data
	End     int // just behind the record
	Type    uint16
	Class   uint16
	TTL     uint32
}

// ReadRecord reads the record that begins at offset at; not ok if the message ends too early or the name is broken.
func ReadRecord(p []byte, at int) (Record, bool) {
	end, ok := skipName(p, at)
	if !ok || end+10 > len(p) {
		return Record{}, false
	}
	rr := Record{
		NameEnd: end,
		Data:    end + 10,
		Type:    binary.BigEndian.Uint16(p[end:]),
		Class:   binary.BigEndian.Uint16(p[end+2:]),
		TTL:     binary.BigEndian.Uint32(p[end+4:]),
	}
	rr.End = rr.Data + int(binary.BigEndian.Uint16(p[end+8:]))
	return rr, rr.End <= len(p)
}

// skipName returns the offset behind the name at offset at. A pointer ends a name and is not followed.
func skipName(p []byte, at int) (int, bool) {
	for at < len(p) {
		length := int(p[at])
		switch {
		case length == 0:
			return at + 1, true
		case length&0xc0 == 0xc0:
			return at + 2, at+2 <= len(p)
		case length > 63:
			return 0, false
		}
		at += 1 + length
	}
	return 0, false
}
