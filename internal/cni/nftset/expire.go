// SPDX-License-Identifier: Apache-2.0

package nftset

import (
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

// Expiry is how long elements are there after Expire: a tick of most kernels' clocks. Less would be no tick, which is for good.
const Expiry = 4 * time.Millisecond

// expiryPoll is how often Expired looks.
const expiryPoll = 500 * time.Microsecond

// Expire has elements go within Expiry. The kernel frees what is deleted after a grace period of some 10 ms, for which the end
// of the process that deleted it waits; what expires it collects by itself. Elements that do not go, since the kernel is older
// than Linux 6.12, are seen to by Expired; where sets were not made for it, all are deleted.
func Expire(sets []Info, list []In) error {
	if !slices.ContainsFunc(sets, func(s Info) bool { return !s.Expires }) {
		var expire Batch
		for _, i := range list {
			e := Element{Key: i.Element.Key, Value: i.Element.Value, expires: uint64(Expiry.Milliseconds())}
			expire.put(unix.NFT_MSG_NEWSETELEM, netlink.Request|netlink.Create, i.Set, []Element{e}, true)
		}
		if expire.Commit() == nil {
			return nil
		}
	}
	var b Batch
	for _, i := range list {
		b.Delete(i.Set, i.Element)
	}
	return b.Commit()
}

// Expired waits until elements that Expire was called for are gone, and deletes those that do not go by themselves.
func Expired(list []In) error {
	for _, i := range list {
		for {
			found, err := get(i.Set, netlink.Request, elements([]Element{i.Element}, false))
			if errors.Is(err, unix.ENOENT) || err == nil && len(found) == 0 {
				break
			}
			if err != nil {
				return err
			}
			if found[0].expires == 0 {
				return deleteAll(list)
			}
			time.Sleep(expiryPoll)
		}
	}
	return nil
}

// deleteAll deletes those elements that are still as they were.
func deleteAll(list []In) error {
	return Locked(func() error {
		var b Batch
		for _, i := range list {
			have, found, err := Get(i.Set, i.Element.Key)
			if err != nil {
				return err
			}
			if found && have.Comment == i.Element.Comment {
				b.Delete(i.Set, have)
			}
		}
		return b.Commit()
	})
}
