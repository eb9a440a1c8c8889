// SPDX-License-Identifier: Apache-2.0

package nftset

import (
	"errors"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Batch is a list of changes that happen together or not at all. The zero Batch is empty and ready.
type Batch struct {
	messages []netlink.Message
	err      error
}

// Add adds elements, none of which may exist: Commit fails with unix.EEXIST if one does, and with unix.ENOENT if the
// set does not exist.
func (b *Batch) Add(s Set, list ...Element) {
	b.put(unix.NFT_MSG_NEWSETELEM, netlink.Request|netlink.Create|netlink.Excl, s, list, true)
}

// Delete deletes elements by key: Commit fails with unix.ENOENT if one does not exist.
func (b *Batch) Delete(s Set, list ...Element) {
	b.put(unix.NFT_MSG_DELSETELEM, netlink.Request, s, list, false)
}

// Empty reports whether there is nothing to commit.
func (b *Batch) Empty() bool { return len(b.messages) == 0 && b.err == nil }

func (b *Batch) put(kind int, flags netlink.HeaderFlags, s Set, list []Element, values bool) {
	for len(list) > 0 {
		n := fitting(list)
		m, err := message(kind, flags, s, elements(list[:n], values))
		b.err = errors.Join(b.err, err)
		b.messages = append(b.messages, m)
		list = list[n:]
	}
}

// fitting returns how many elements one message takes.
func fitting(list []Element) int {
	const overhead = 40
	size := 0
	for i, e := range list {
		size += len(e.Key) + len(e.Value) + len(e.Comment) + overhead
		if size > batchLimit && i > 0 {
			return i
		}
	}
	return len(list)
}

// Commit makes the changes in the calling thread's network namespace. An empty batch does nothing.
func (b *Batch) Commit() error {
	if b.Empty() {
		return nil
	}
	conn, err := Dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	return conn.Commit(b)
}

func boundary(kind netlink.HeaderType) netlink.Message {
	return netlink.Message{
		Header: netlink.Header{Type: kind, Flags: netlink.Request},
		Data:   []byte{unix.AF_UNSPEC, unix.NFNETLINK_V0, 0, unix.NFNL_SUBSYS_NFTABLES},
	}
}
