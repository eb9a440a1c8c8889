// SPDX-License-Identifier: Apache-2.0

package qemu_test

import "testing"

// Bridges that filter VLANs.
func TestVLANsOfBridges(t *testing.T) {
	if *packages != "" {
		t.Skip("other packages are asked for")
	}
	run(t, []string{"./internal/cni/program"}, "VLAN", []string{"bridge", "veth", "8021q"})
}
