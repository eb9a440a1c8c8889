// SPDX-License-Identifier: Apache-2.0

// Package nftset adds, deletes and looks up single elements of nftables sets and maps, each with a comment that names
// its owner.
//
// It is what lets the plugins keep what they map as data in constant rules: one lookup or one small transaction per
// call, whatever else the table holds. An element is only ever added where there is none, so two owners never share a
// key. Kernel interface: linux/netfilter/nf_tables.h, NFT_MSG_{NEW,GET,DEL}SETELEM.
package nftset

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Set names a set or map; Family is the table's (unix.NFPROTO_…).
type Set struct {
	Family byte
	Table  string
	Name   string
}

// Element is a key of a set, or of a map with its value.
type Element struct {
	Key     []byte
	Value   []byte // nil in a set
	Comment string // at most 250 bytes
	// expires is how much longer it is there, in milliseconds; 0 is for good.
	expires uint64
}

// batchLimit bounds the bytes of elements of one message: attributes hold at most 64 KB.
const batchLimit = 32 << 10

// Get looks a key up in the calling thread's network namespace; false means that the key, the set or the table does
// not exist. What expires counts as gone.
func Get(s Set, key []byte) (Element, bool, error) {
	conn, err := Dial()
	if err != nil {
		return Element{}, false, err
	}
	defer conn.Close()
	found, err := conn.Find([]In{{Set: s, Element: Element{Key: key}}})
	if err != nil || len(found) == 0 {
		return Element{}, false, err
	}
	return found[0].Element, true, nil
}

// List returns every element of a set; a set that does not exist is empty.
func List(s Set) ([]Element, error) {
	conn, err := Dial()
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	m, err := message(unix.NFT_MSG_GETSETELEM, netlink.Request|netlink.Dump, s, nil)
	if err != nil {
		return nil, err
	}
	replies, err := conn.socket.Execute(m)
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list elements of %s: %w", s.Name, err)
	}
	var all []Element
	for _, reply := range replies {
		all = append(all, decode(reply.Data)...)
	}
	return slices.DeleteFunc(all, func(e Element) bool { return e.expires > 0 }), nil
}

func message(kind int, flags netlink.HeaderFlags, s Set, list func(*netlink.AttributeEncoder) error) (netlink.Message, error) {
	ae := netlink.NewAttributeEncoder()
	ae.ByteOrder = binary.BigEndian
	ae.String(unix.NFTA_SET_ELEM_LIST_TABLE, s.Table)
	ae.String(unix.NFTA_SET_ELEM_LIST_SET, s.Name)
	if list != nil {
		ae.Nested(unix.NFTA_SET_ELEM_LIST_ELEMENTS, list)
	}
	attributes, err := ae.Encode()
	if err != nil {
		return netlink.Message{}, fmt.Errorf("encode elements: %w", err)
	}
	return netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | kind), Flags: flags},
		Data:   append([]byte{s.Family, unix.NFNETLINK_V0, 0, 0}, attributes...),
	}, nil
}
