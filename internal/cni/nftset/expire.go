// SPDX-License-Identifier: Apache-2.0

package nftset

import (
	"bytes"
	"errors"
	"slices"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// In is an element and the set that it is in.
type In struct {
	Set     Set
	Element Element
}

// expiry is what Expire asks for: the kernel makes a tick of its clock of it, 4 ms in most.
const expiry = time.Millisecond

// Tick is the longest that elements are there after Expire: a tick of the slowest clock that a kernel is built with.
const Tick = 10 * time.Millisecond

// expiryPoll is how often Expired and AfterExpiry look.
const expiryPoll = 500 * time.Microsecond

// Expire has elements go with the next tick of the kernel's clock. The kernel frees what is deleted after a grace period of some 10 ms, for which the end
// of the process that deleted it waits; what expires it collects by itself. Elements that do not go, since the kernel is older
// than Linux 6.12, are seen to by Expired; where sets were not made for it, all are deleted.
func (c *Conn) Expire(sets []Info, list []In) error {
	if !slices.ContainsFunc(sets, func(s Info) bool { return !s.Expires }) {
		var expire Batch
		for _, i := range list {
			e := Element{Key: i.Element.Key, Value: i.Element.Value, expires: uint64(expiry.Milliseconds())}
			expire.put(unix.NFT_MSG_NEWSETELEM, netlink.Request|netlink.Create, i.Set, []Element{e}, true)
		}
		if c.Commit(&expire) == nil {
			return nil
		}
	}
	var b Batch
	for _, i := range list {
		b.Delete(i.Set, i.Element)
	}
	return c.Commit(&b)
}

// Going deletes those elements that Expire was called for and that do not go by themselves. What goes may be there for a
// Tick yet.
func (c *Conn) Going(list []In) error {
	_, err := c.going(list)
	return err
}

// Expired is Going that waits until the elements are gone.
func (c *Conn) Expired(list []In) error {
	for {
		left, err := c.going(list)
		if err != nil || left == 0 {
			return err
		}
		time.Sleep(expiryPoll)
	}
}

// going returns how many of the elements are there yet, none of them for good.
func (c *Conn) going(list []In) (int, error) {
	have, err := c.find(list)
	if err != nil {
		return 0, err
	}
	if slices.ContainsFunc(have, func(i In) bool { return i.Element.expires == 0 }) {
		return 0, c.deleteAll(list)
	}
	return len(have), nil
}

// AfterExpiry runs what adds elements again, for a Tick at most, while one is in the way that is about to expire.
func AfterExpiry(add func() error) error {
	err := add()
	for left := Tick; left > 0 && errors.Is(err, unix.EEXIST); left -= expiryPoll {
		time.Sleep(expiryPoll)
		err = add()
	}
	return err
}

// deleteAll deletes those elements that are still as they were.
func (c *Conn) deleteAll(list []In) error {
	return Locked(func() error {
		have, err := c.Find(list)
		if err != nil {
			return err
		}
		var b Batch
		for _, i := range have {
			if slices.ContainsFunc(list, func(was In) bool {
				return was.Set == i.Set && bytes.Equal(was.Element.Key, i.Element.Key) && was.Element.Comment == i.Element.Comment
			}) {
				b.Delete(i.Set, i.Element)
			}
		}
		return c.Commit(&b)
	})
}
