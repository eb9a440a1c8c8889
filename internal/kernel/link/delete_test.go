// SPDX-License-Identifier: Apache-2.0

package link_test

import (
	"fmt"
	"testing"

	"github.com/vishvananda/netlink"

	"eastwest/internal/kernel/link"
	"eastwest/internal/kernel/netns/netnstest"
)

// Whoever deleted a device can make one of the same name at once, and sees nothing of the old one, nor of its other end.
func TestDeletedDevicesAreGoneAtOnce(t *testing.T) {
	netnstest.In(t, netnstest.New(t), func() error {
		bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}
		if err := netlink.LinkAdd(bridge); err != nil {
			return err
		}
		for n := range 40 {
			port := 0
			if n%2 == 1 {
				port = bridge.Index // a bridge tells of a port that it loses, too
			}
			if err := makeAndDelete(port); err != nil {
				return fmt.Errorf("pair %d: %w", n, err)
			}
		}
		return nil
	})
}

func makeAndDelete(bridge int) error {
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "here", MasterIndex: bridge}, PeerName: "there"}
	if err := netlink.LinkAdd(veth); err != nil {
		return err
	}
	if err := netlink.LinkSetUp(veth); err != nil {
		return err
	}
	if err := link.Delete(veth); err != nil {
		return err
	}
	for _, name := range []string{"here", "there"} {
		if _, err := netlink.LinkByName(name); !link.IsNotFound(err) {
			return fmt.Errorf("%s is still there: %v", name, err)
		}
	}
	if err := link.Delete(veth); !link.IsNotFound(err) {
		return fmt.Errorf("deleted again: %v", err)
	}
	return nil
}

// What cannot be deleted is said, though nothing is ever told of it.
func TestRefusedDeletionsAreErrors(t *testing.T) {
	netnstest.In(t, netnstest.New(t), func() error {
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		if err := link.Delete(lo); err == nil || link.IsNotFound(err) {
			return fmt.Errorf("deleting the loopback device: %v", err)
		}
		return nil
	})
}
