// SPDX-License-Identifier: Apache-2.0

package link

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// freeing bounds how many devices the kernel frees behind its callers' backs; each takes a thread. Who is one too many waits.
var freeing = make(chan struct{}, 16)

// Delete deletes a device of the calling thread's network namespace and, of a veth pair, its other end. It returns when they are gone: no packet
// passes, nobody sees them, their names are free. The kernel acknowledges a deletion only when it has freed the memory too, for which it waits until no
// processor holds on to it (rcu_barrier, 10 to 30 ms) without any lock; so this waits for what the kernel tells everybody before. A device
// that is not there is an error, see IsNotFound.
func Delete(l netlink.Link) error {
	events, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK)
	if err != nil {
		return fmt.Errorf("open route netlink: %w", err)
	}
	h, err := Open()
	if err != nil {
		events.Close()
		return err
	}
	freeing <- struct{}{}
	acknowledged, told := make(chan error, 1), make(chan struct{})
	go func() {
		acknowledged <- h.LinkDel(l)
		h.Close()
		events.Close()
		<-freeing
	}()
	go func() {
		if awaitDeletion(events, int32(l.Attrs().Index)) {
			close(told)
		}
	}()
	select {
	case <-told:
		return nil
	case err := <-acknowledged:
		return err
	}
}

// awaitDeletion reads until the kernel has told that the device is deleted. It gives up when the socket is closed.
func awaitDeletion(events *nl.NetlinkSocket, index int32) bool {
	for {
		messages, _, err := events.Receive()
		if err != nil && !errors.Is(err, unix.ENOBUFS) {
			return false
		}
		for _, m := range messages {
			if m.Header.Type == unix.RTM_DELLINK && isDevice(m, index) {
				return true
			}
		}
	}
}

// isDevice says whether a message is of the device itself: a bridge tells in the same words that the device is no port of its any more.
func isDevice(m syscall.NetlinkMessage, index int32) bool {
	if len(m.Data) < unix.SizeofIfInfomsg {
		return false
	}
	info := nl.DeserializeIfInfomsg(m.Data)
	return info.Family == unix.AF_UNSPEC && info.Index == index
}
