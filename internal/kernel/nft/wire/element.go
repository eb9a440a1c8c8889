// SPDX-License-Identifier: Apache-2.0

// Package wire reads elements of nftables' sets and maps from the kernel's messages (linux/netfilter/nf_tables.h,
// NFT_MSG_NEWSETELEM).
package wire

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
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

// Elements reads those of a message's body, which begins with the family.
func Elements(body []byte) ([]Element, error) {
	if len(body) < familyBytes {
		return nil, nil
	}
	message, err := netlink.NewAttributeDecoder(body[familyBytes:])
	if err != nil {
		return nil, fmt.Errorf("read nftables elements: %w", err)
	}
	message.ByteOrder = binary.BigEndian
	var out []Element
	for message.Next() {
		if message.Type() != unix.NFTA_SET_ELEM_LIST_ELEMENTS {
			continue
		}
		message.Nested(func(list *netlink.AttributeDecoder) error {
			for list.Next() {
				list.Nested(func(element *netlink.AttributeDecoder) error {
					out = append(out, elementOf(element))
					return nil
				})
			}
			return nil
		})
	}
	if err := message.Err(); err != nil {
		return nil, fmt.Errorf("read nftables elements: %w", err)
	}
	return out, nil
}

func elementOf(element *netlink.AttributeDecoder) Element {
	var e Element
	value := func(to *[]byte) func(*netlink.AttributeDecoder) error {
		return func(data *netlink.AttributeDecoder) error {
			for data.Next() {
				if data.Type() == unix.NFTA_DATA_VALUE {
					*to = data.Bytes()
				}
			}
			return nil
		}
	}
	for element.Next() {
		switch element.Type() {
		case unix.NFTA_SET_ELEM_KEY:
			element.Nested(value(&e.Key))
		case keyEnd:
			element.Nested(value(&e.KeyEnd))
		case unix.NFTA_SET_ELEM_DATA:
			element.Nested(value(&e.Data))
		case unix.NFTA_SET_ELEM_EXPIRATION:
			e.Expires = max(1, element.Uint64())
		case unix.NFTA_SET_ELEM_USERDATA:
			e.Comment = Comment(element.Bytes())
		}
	}
	return e
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
