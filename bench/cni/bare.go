// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// bare measures what no plugin can do without: the start of a Go program, which a chain of two has twice, the kernel's own
// time for a container's devices, addresses and routes, and for the removal of what a port mapping is.
func (b *bench) bare(runs int) error {
	empty := filepath.Join(b.dir, "empty")
	if out, err := exec.Command("go", "build", "-ldflags", "-s -w", "-o", empty, "./cni/empty").CombinedOutput(); err != nil {
		return fmt.Errorf("build the empty program: %w: %s", err, out)
	}
	var start, startCPU, made, removed, unmapped []time.Duration
	for range runs {
		begin, cpu := time.Now(), children()
		if err := exec.Command(empty).Run(); err != nil {
			return fmt.Errorf("run the empty program: %w", err)
		}
		start, startCPU = append(start, time.Since(begin)), append(startCPU, children()-cpu)
		add, del, err := b.deviceTimes()
		if err != nil {
			return err
		}
		gone, err := elementTime()
		if err != nil {
			return err
		}
		made, removed, unmapped = append(made, add), append(removed, del), append(unmapped, gone)
	}
	fmt.Printf("what nobody can do without, %d each\n", runs)
	fmt.Printf("  start of an empty Go program                %s, CPU %s\n", spread(start), spread(startCPU))
	fmt.Printf("  kernel: veth pair, addresses, routes        %s\n", spread(made))
	fmt.Printf("  kernel: the pair removed                    %s\n", spread(removed))
	fmt.Printf("  kernel: an nftables element removed, and the socket closed, which waits for the memory to be free  %s\n", spread(unmapped))
	return nil
}

// deviceTimes makes what ptp makes for a container, from one process that is there already, and removes it again.
func (b *bench) deviceTimes() (made, removed time.Duration, err error) {
	pod, err := b.pod()
	if err != nil {
		return 0, 0, err
	}
	ns, err := os.Open(pod.NetNS)
	if err != nil {
		return 0, 0, err
	}
	defer ns.Close()
	container, err := netlink.NewHandleAt(netns.NsHandle(ns.Fd()))
	if err != nil {
		return 0, 0, err
	}
	defer container.Close()
	begin := time.Now()
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "bare0", MTU: 1500}, PeerName: "eth0", PeerNamespace: netlink.NsFd(int(ns.Fd()))}
	if err := netlink.LinkAdd(veth); err != nil {
		return 0, 0, fmt.Errorf("make veth pair: %w", err)
	}
	inner, err := container.LinkByName("eth0")
	if err != nil {
		return 0, 0, err
	}
	outer, err := netlink.LinkByName("bare0")
	if err != nil {
		return 0, 0, err
	}
	single := func(last byte) *net.IPNet {
		return &net.IPNet{IP: net.IPv4(198, 18, 0, last), Mask: net.CIDRMask(32, 32)}
	}
	err = errors.Join(netlink.LinkSetUp(outer), container.LinkSetUp(inner),
		netlink.AddrAdd(outer, &netlink.Addr{IPNet: single(1)}), container.AddrAdd(inner, &netlink.Addr{IPNet: single(2)}),
		netlink.RouteAdd(&netlink.Route{LinkIndex: outer.Attrs().Index, Dst: single(2), Scope: netlink.SCOPE_HOST}),
		container.RouteAdd(&netlink.Route{LinkIndex: inner.Attrs().Index, Dst: single(1), Scope: netlink.SCOPE_LINK}),
		container.RouteAdd(&netlink.Route{LinkIndex: inner.Attrs().Index, Gw: single(1).IP}))
	if err != nil {
		return 0, 0, fmt.Errorf("set up veth pair: %w", err)
	}
	made = time.Since(begin)
	settle()
	begin = time.Now()
	if err := netlink.LinkDel(outer); err != nil {
		return 0, 0, fmt.Errorf("delete veth pair: %w", err)
	}
	return made, time.Since(begin), removeNamespace(pod.NetNS)
}

// elementTime is how long the kernel takes to remove one element of a set.
func elementTime() (time.Duration, error) {
	setup, err := nftables.New()
	if err != nil {
		return 0, err
	}
	table := setup.AddTable(&nftables.Table{Name: "bare", Family: nftables.TableFamilyIPv4})
	set := &nftables.Set{Table: table, Name: "ports", KeyType: nftables.TypeInetService}
	elements := []nftables.SetElement{{Key: []byte{0x1f, 0x90}}}
	if err := errors.Join(setup.AddSet(set, elements), setup.Flush()); err != nil {
		return 0, fmt.Errorf("make nftables set: %w", err)
	}
	defer func() {
		setup.DelTable(table)
		_ = setup.Flush() // goes with the namespace
	}()
	begin := time.Now()
	c, err := nftables.New(nftables.AsLasting())
	if err != nil {
		return 0, err
	}
	if err := errors.Join(c.SetDeleteElements(set, elements), c.Flush(), c.CloseLasting()); err != nil {
		return 0, fmt.Errorf("remove nftables element: %w", err)
	}
	return time.Since(begin), nil
}
