// SPDX-License-Identifier: Apache-2.0

// Package forwarding lets the host forward packets to and from containers.
package forwarding

import (
	"eastwest/internal/kernel/sysctl"
)

// Enable lets packets of the wanted families be forwarded.
func Enable(v4, v6 bool) error {
	if v4 {
		if err := sysctl.Ensure("net/ipv4/ip_forward", "1"); err != nil {
			return err
		}
	}
	if v6 {
		return sysctl.Ensure("net/ipv6/conf/all/forwarding", "1")
	}
	return nil
}
