// SPDX-License-Identifier: Apache-2.0

package attached_test

import (
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"eastwest/internal/kernel/attached"
	"eastwest/internal/kernel/netns"
	"eastwest/internal/kernel/netns/netnstest"
)

// A node with two pods, one on a veth of its own and one on a bridge, and with a namespace that nothing leads to.
func TestListSaysWhatIsBehindEachVeth(t *testing.T) {
	netnstest.RequireRoot(t)
	netnstest.RequireProgram(t, "sleep")
	dir := t.TempDir()
	for _, name := range []string{"alone", "bridged", "ptp"} {
		path := filepath.Join(dir, name)
		if err := netns.Create(path); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { netns.Remove(path) })
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	node := netnstest.New(t)
	netnstest.In(t, node, func() error {
		bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}
		if err := netlink.LinkAdd(bridge); err != nil {
			return err
		}
		for _, pod := range []string{"ptp", "bridged"} {
			if err := connect(filepath.Join(dir, pod), pod, bridge); err != nil {
				return err
			}
		}
		return nil
	})
	netnstest.In(t, filepath.Join(dir, "ptp"), func() error { return address("eth0", "10.244.1.2/24", "fd00::2/64") })
	netnstest.In(t, filepath.Join(dir, "bridged"), func() error { return address("eth0", "10.244.1.3/24") })
	sleeping := exec.Command("sleep", "60")
	netnstest.In(t, filepath.Join(dir, "ptp"), sleeping.Start)
	t.Cleanup(func() { sleeping.Process.Kill(); _ = sleeping.Wait() })

	var got []attached.Namespace
	netnstest.In(t, node, func() (err error) { got, err = attached.List(dir); return err })
	prefix := netip.MustParsePrefix
	want := []attached.Namespace{
		{Path: filepath.Join(dir, "alone")},
		{Path: filepath.Join(dir, "bridged"), Interfaces: []attached.Interface{
			{Name: "eth0", MTU: 1400, Addresses: []netip.Prefix{prefix("10.244.1.3/24")}, Host: "bridged", Bridge: "br0"}}},
		{Path: filepath.Join(dir, "ptp"), Processes: []int{sleeping.Process.Pid}, Interfaces: []attached.Interface{
			{Name: "eth0", MTU: 1400, Addresses: []netip.Prefix{prefix("10.244.1.2/24"), prefix("fd00::2/64")}, Host: "ptp"}}},
	}
	compare := cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })
	if diff := cmp.Diff(want, got, compare); diff != "" {
		t.Errorf("List (-want +got):\n%s", diff)
	}
	// From elsewhere the namespaces are the same, and no veth leads to them.
	for _, namespace := range must(attached.List(dir)) {
		if slices.ContainsFunc(namespace.Interfaces, func(i attached.Interface) bool { return i.Host != "" }) {
			t.Errorf("%s has a veth in the wrong namespace", namespace.Path)
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func connect(path, name string, bridge *netlink.Bridge) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	veth := &netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: name, MTU: 1400}, PeerName: "eth0", PeerMTU: 1400, PeerNamespace: netlink.NsFd(int(f.Fd())),
	}
	if err := netlink.LinkAdd(veth); err != nil || name == "ptp" {
		return err
	}
	return netlink.LinkSetMaster(veth, bridge)
}

func address(name string, texts ...string) error {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	for _, text := range texts {
		a, err := netlink.ParseAddr(text)
		if err != nil {
			return err
		}
		if err := netlink.AddrAdd(l, a); err != nil {
			return err
		}
	}
	return nil
}
