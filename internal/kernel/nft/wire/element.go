// SPDX-License-Identifier: Apache-2.0

// Package wire reads elements of nftables' sets and maps from the kernel's messages (linux/netfilter/nf_tables.h,
// NFT_MSG_NEWSETELEM).
package wire

import (
	"encoding/binary"
	"strings"

	"golang.org/x/sys/unix"

	"eastwest/internal/kernel/nfnetlink"
)

// Element is a key of a set, or of a map with its value.
type Element struct {
	Key, KeyEnd []byte // KeyEnd of sets of concatenated ranges alone
	Data        []byte // nil in a set
	Comment     string
	// Expires is how much longer it is there, in milliseconds and at least 1; 0 is for good.
	Expires uint64
}

const (
	familyBytes = 4  // nfgenmsg
	keyEnd      = 10 // NFTA_SET_ELEM_KEY_END
	comment     = 0  // NFTNL_UDATA_SET_ELEM_COMMENT, and NFTNL_UDATA_RULE_COMMENT
)

// Elements appends those of a message's body, which begins with the family. Their keys and values are parts of the body.
func Elements(to []Element, body []byte) []Element {
	for a := range nfnetlink.Attributes(body[min(familyBytes, len(body)):]) {
		if a.Kind != unix.NFTA_SET_ELEM_LIST_ELEMENTS {
			continue
		}
		for element := range nfnetlink.Attributes(a.Value) {
			to = append(to, elementOf(element.Value))
		}
	}
	return to
}

func elementOf(data []byte) (e Element) {
	for a := range nfnetlink.Attributes(data) {
		switch a.Kind {
		case unix.NFTA_SET_ELEM_KEY:
			e.Key = valueOf(a.Value)
		case keyEnd:
			e.KeyEnd = valueOf(a.Value)
		case unix.NFTA_SET_ELEM_DATA:
			e.Data = valueOf(a.Value)
		case unix.NFTA_SET_ELEM_EXPIRATION:
			if len(a.Value) == 8 {
				e.Expires = max(1, binary.BigEndian.Uint64(a.Value))
			}
		case unix.NFTA_SET_ELEM_USERDATA:
			e.Comment = Comment(a.Value)
		}
	}
	return e
}

// valueOf returns what NFTA_DATA_VALUE holds.
func valueOf(data []byte) []byte {
	for a := range nfnetlink.Attributes(data) {
		if a.Kind == unix.NFTA_DATA_VALUE {
			return a.Value
		}
	}
	return nil
}

// Comment finds the comment in the user data of an element or a rule, which are kinds, lengths and values, written by
// whoever likes: what is cut off ends them.
func Comment(data []byte) string {
	for len(data) >= 2 && len(data) >= 2+int(data[1]) {
		value := data[2 : 2+int(data[1])]
		if data[0] == comment {
			return strings.TrimRight(string(value), "\x00")
		}
		data = data[2+len(value):]
	}
	return ""
}
