// SPDX-License-Identifier: Apache-2.0

package nftset

import (
	"encoding/binary"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"eastwest/internal/kernel/nft/wire"
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

func decode(data []byte) []Element {
	have := wire.Elements(nil, data)
	out := make([]Element, len(have))
	for i, e := range have {
		out[i] = Element{Key: e.Key, Value: e.Data, Comment: e.Comment, expires: e.Expires}
	}
	return out
}
