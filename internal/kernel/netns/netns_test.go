// SPDX-License-Identifier: Apache-2.0

package netns_test

import (
	"net"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"eastwest/internal/kernel/netns"
	"eastwest/internal/kernel/netns/netnstest"
)

func TestDoEntersAndComesBack(t *testing.T) {
	path := netnstest.New(t)
	var inside []net.Interface
	if err := netns.Do(path, func() (err error) { inside, err = net.Interfaces(); return err }); err != nil {
		t.Fatal(err)
	}
	if len(inside) != 1 || inside[0].Name != "lo" {
		t.Errorf("interfaces of a new namespace = %v, want lo alone", inside)
	}
	same, err := netns.Same(path, "/proc/self/ns/net")
	if err != nil || same {
		t.Errorf("Same(new, own) = %v, %v; want false", same, err)
	}
}

func TestCreateRefusesATakenPath(t *testing.T) {
	path := netnstest.New(t)
	if err := netns.Create(path); err == nil {
		t.Error("creating a namespace on a taken path succeeded")
	}
}

func TestRemoveTwice(t *testing.T) {
	netnstest.RequireRoot(t)
	path := filepath.Join(t.TempDir(), "ns")
	if err := netns.Create(path); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := netns.Remove(path); err != nil {
			t.Errorf("remove: %v", err)
		}
	}
	if err := unix.Access(path, unix.F_OK); err == nil {
		t.Error("the pin is still there after Remove")
	}
}
