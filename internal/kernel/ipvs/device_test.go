// SPDX-License-Identifier: Apache-2.0

package ipvs_test

import (
	"net/netip"
	"os/exec"
	"slices"
	"testing"

	"eastwest/internal/kernel/ipvs"
	"eastwest/internal/kernel/loopback"
	"eastwest/internal/kernel/netns/netnstest"
)

// On a kernel without dummy devices the loopback has the addresses of virtual servers. Who keeps other addresses there does not
// take them for its own.
func TestAddressesOnTheLoopback(t *testing.T) {
	ns := netnstest.New(t)
	netnstest.In(t, ns, func() error { return exec.Command("ip", "link", "set", "lo", "up").Run() })
	device, others := ipvs.WithoutDummies(ns), loopback.New(ns)
	mine := []netip.Addr{netip.MustParseAddr("10.96.0.7"), netip.MustParseAddr("fd00:96::7")}
	theirs := []netip.Addr{netip.MustParseAddr("10.96.0.10"), netip.MustParseAddr("fd00:96::a")}
	if err := device.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range mine {
		for range 2 { // twice is no error
			if err := device.Add(t.Context(), mine[i]); err != nil {
				t.Fatal(err)
			}
			if err := others.Add(t.Context(), theirs[i]); err != nil {
				t.Fatal(err)
			}
		}
	}
	list, err := others.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	addresses, err := device.Addresses(t.Context())
	if err != nil || !addresses.Shared {
		t.Errorf("%+v, %v; want the loopback's", addresses, err)
	}
	for i := range mine {
		if slices.Contains(list, mine[i]) || !slices.Contains(list, theirs[i]) {
			t.Errorf("the loopback's other addresses are %v, want %v and not %v", list, theirs, mine)
		}
		if !addresses.On[mine[i]] {
			t.Errorf("%s is not there", mine[i])
		}
		if err := device.Delete(t.Context(), mine[i]); err != nil {
			t.Fatal(err)
		}
	}
	if addresses, err = device.Addresses(t.Context()); err != nil || addresses.On[mine[0]] || addresses.On[mine[1]] {
		t.Errorf("after they are deleted: %+v, %v", addresses, err)
	}
}
