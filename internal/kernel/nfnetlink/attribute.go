// SPDX-License-Identifier: Apache-2.0

package nfnetlink

import (
	"encoding/binary"
	"iter"

	"golang.org/x/sys/unix"
)

// Attribute is one of netlink.
type Attribute struct {
	Kind         uint16
	Value, Whole []byte // Whole has the header and the padding
}

// Attributes yields what is well formed, and ends where it is not.
func Attributes(data []byte) iter.Seq[Attribute] {
	return func(yield func(Attribute) bool) {
		for len(data) >= unix.NLA_HDRLEN {
			length := int(binary.NativeEndian.Uint16(data))
			padded := min((length+3)&^3, len(data))
			if length < unix.NLA_HDRLEN || length > len(data) {
				return
			}
			kind := binary.NativeEndian.Uint16(data[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
			if !yield(Attribute{kind, data[unix.NLA_HDRLEN:length], data[:padded]}) {
				return
			}
			data = data[padded:]
		}
	}
}

// Named appends an attribute with a name to others.
func Named(to []byte, kind uint16, name string) []byte {
	to = binary.NativeEndian.AppendUint16(to, uint16(unix.NLA_HDRLEN+len(name)+1))
	to = append(binary.NativeEndian.AppendUint16(to, kind), name...)
	return append(to, make([]byte, 4-len(name)%4)...) // one byte at least ends the name
}
