// SPDX-License-Identifier: Apache-2.0

package hostnet

import (
	"fmt"
	"os"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// openIn opens a netlink handle in a network namespace. The caller closes it.
func openIn(ns *os.File) (*netlink.Handle, error) {
	handle, err := netlink.NewHandleAt(netns.NsHandle(int(ns.Fd())))
	if err != nil {
		return nil, fmt.Errorf("open netlink in %s: %w", ns.Name(), err)
	}
	return handle, nil
}
