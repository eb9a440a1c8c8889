// SPDX-License-Identifier: Apache-2.0

package attach

import (
	"fmt"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"eastwest/internal/kernel/link"
)

// How long duplicate address detection may take, and how often its outcome is looked at.
const (
	settleTime = 5 * time.Second
	settlePoll = 10 * time.Millisecond
)

// Settle waits until duplicate address detection has passed a link's global IPv6 addresses. Without detection, or
// without such addresses, it returns at once.
func Settle(h *link.Handle, l netlink.Link) error {
	deadline := time.Now().Add(settleTime)
	for {
		addrs, err := h.AddrList(l, netlink.FAMILY_V6)
		if err != nil {
			return err
		}
		waiting := false
		for _, a := range addrs {
			if a.Scope != unix.RT_SCOPE_UNIVERSE {
				continue
			}
			if a.Flags&unix.IFA_F_DADFAILED != 0 {
				return fmt.Errorf("address %s of %s is in use by another host of the network", a.IPNet, l.Attrs().Name)
			}
			waiting = waiting || a.Flags&unix.IFA_F_TENTATIVE != 0
		}
		if !waiting {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("addresses of %s are still tentative after %s", l.Attrs().Name, settleTime)
		}
		time.Sleep(settlePoll)
	}
}
