// SPDX-License-Identifier: Apache-2.0

package nftset

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// commentType is the kind of user data that nft prints as a comment (libnftnl, NFTNL_UDATA_SET_ELEM_COMMENT).
const commentType = 0

// nfHeader is the length of struct nfgenmsg in front of the attributes.
const nfHeader = 4

func elements(list []Element, values bool) func(*netlink.AttributeEncoder) error {
	return func(ae *netlink.AttributeEncoder) error {
		for _, e := range list {
			ae.Nested(unix.NFTA_LIST_ELEM, func(ae *netlink.AttributeEncoder) error {
				ae.ByteOrder = binary.BigEndian
				ae.Nested(unix.NFTA_SET_ELEM_KEY, value(e.Key))
				if values && e.expires > 0 {
					ae.Uint64(unix.NFTA_SET_ELEM_TIMEOUT, e.expires)
					ae.Uint64(unix.NFTA_SET_ELEM_EXPIRATION, e.expires)
				}
				if values && e.Value != nil {
					ae.Nested(unix.NFTA_SET_ELEM_DATA, value(e.Value))
				}
				if values && e.Comment != "" {
					ae.Bytes(unix.NFTA_SET_ELEM_USERDATA, encodeComment(e.Comment))
				}
				return nil
			})
		}
		return nil
	}
}

func value(b []byte) func(*netlink.AttributeEncoder) error {
	return func(ae *netlink.AttributeEncoder) error {
		ae.Bytes(unix.NFTA_DATA_VALUE, b)
		return nil
	}
}

func encodeComment(c string) []byte {
	return append([]byte{commentType, byte(len(c) + 1)}, c+"\x00"...)
}

func decodeComment(b []byte) string {
	for len(b) >= 2 {
		kind, n := b[0], int(b[1])
		if len(b) < 2+n {
			return ""
		}
		if kind == commentType {
			return string(bytes.TrimRight(b[2:2+n], "\x00"))
		}
		b = b[2+n:]
	}
	return ""
}

func decode(data []byte) ([]Element, error) {
	if len(data) < nfHeader {
		return nil, nil
	}
	ad, err := netlink.NewAttributeDecoder(data[nfHeader:])
	if err != nil {
		return nil, fmt.Errorf("decode elements: %w", err)
	}
	ad.ByteOrder = binary.BigEndian
	var out []Element
	for ad.Next() {
		if ad.Type() == unix.NFTA_SET_ELEM_LIST_ELEMENTS {
			ad.Nested(func(list *netlink.AttributeDecoder) error {
				for list.Next() {
					list.Nested(func(ad *netlink.AttributeDecoder) error {
						out = append(out, decodeElement(ad))
						return nil
					})
				}
				return nil
			})
		}
	}
	if err := ad.Err(); err != nil {
		return nil, fmt.Errorf("decode elements: %w", err)
	}
	return out, nil
}

func decodeElement(ad *netlink.AttributeDecoder) Element {
	var e Element
	inner := func(to *[]byte) func(*netlink.AttributeDecoder) error {
		return func(ad *netlink.AttributeDecoder) error {
			for ad.Next() {
				if ad.Type() == unix.NFTA_DATA_VALUE {
					*to = ad.Bytes()
				}
			}
			return nil
		}
	}
	for ad.Next() {
		switch ad.Type() {
		case unix.NFTA_SET_ELEM_KEY:
			ad.Nested(inner(&e.Key))
		case unix.NFTA_SET_ELEM_DATA:
			ad.Nested(inner(&e.Value))
		case unix.NFTA_SET_ELEM_EXPIRATION:
			e.expires = max(1, binary.BigEndian.Uint64(ad.Bytes()))
		case unix.NFTA_SET_ELEM_USERDATA:
			e.Comment = decodeComment(ad.Bytes())
		}
	}
	return e
}
