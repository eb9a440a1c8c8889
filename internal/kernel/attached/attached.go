// SPDX-License-Identifier: Apache-2.0

// Package attached reads what is connected to this machine's network: for each named network namespace its interfaces,
// their addresses and, of a veth, the end that is here. It changes nothing, and asks nobody but the kernel.
package attached

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"eastwest/internal/kernel/link"
	"eastwest/internal/kernel/netns"
)

// Namespace is a named network namespace.
type Namespace struct {
	Path       string
	Interfaces []Interface // without loopback, by index
	Processes  []int       // ids of the processes in it
}

// Interface is a network interface of a Namespace.
type Interface struct {
	Name      string
	MTU       int
	Addresses []netip.Prefix // without link-local ones
	Host      string         // name of the veth's end in this namespace; empty when it is elsewhere
	Bridge    string         // of which that end is a port; empty for none
}

// List reads every namespace pinned in a folder (/run/netns). One that goes away meanwhile is left out.
func List(dir string) ([]Namespace, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		return nil, fmt.Errorf("list network namespaces in %s: %w", dir, err)
	}
	here, err := link.Open()
	if err != nil {
		return nil, err
	}
	defer here.Close()
	own, err := ends(here)
	if err != nil {
		return nil, err
	}
	processes, err := netns.Processes(paths)
	if err != nil {
		return nil, err
	}
	var out []Namespace
	for _, path := range paths {
		interfaces, err := read(here, own, path)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.EINVAL) {
			continue // gone, or a file that is no namespace
		}
		if err != nil {
			return nil, err
		}
		out = append(out, Namespace{Path: path, Interfaces: interfaces, Processes: processes[path]})
	}
	return out, nil
}

// end is a link of this namespace whose other end is in namespace id (as this one numbers them) under an index.
type end struct{ id, index int }

// ends returns this namespace's veths by what they are the other end of.
func ends(here *link.Handle) (map[end]Interface, error) {
	all, err := here.LinkList()
	if err != nil {
		return nil, err
	}
	names := map[int]string{}
	for _, l := range all {
		names[l.Attrs().Index] = l.Attrs().Name
	}
	found := map[end]Interface{}
	for _, l := range all {
		if a := l.Attrs(); l.Type() == "veth" && a.NetNsID >= 0 {
			found[end{a.NetNsID, a.ParentIndex}] = Interface{Host: a.Name, Bridge: names[a.MasterIndex]}
		}
	}
	return found, nil
}

func read(here *link.Handle, own map[end]Interface, path string) ([]Interface, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open network namespace %s: %w", path, err)
	}
	defer f.Close()
	id, err := here.GetNetNsIdByFd(int(f.Fd()))
	if err != nil {
		return nil, fmt.Errorf("number network namespace %s: %w", path, err)
	}
	there, err := link.OpenIn(f)
	if err != nil {
		return nil, err
	}
	defer there.Close()
	links, err := there.LinkList()
	if err != nil {
		return nil, err
	}
	addresses, err := there.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, err
	}
	var out []Interface
	for _, l := range links {
		a := l.Attrs()
		if a.RawFlags&unix.IFF_LOOPBACK != 0 {
			continue
		}
		one := own[end{id, a.Index}]
		one.Name, one.MTU, one.Addresses = a.Name, a.MTU, of(addresses, a.Index)
		out = append(out, one)
	}
	return out, nil
}

func of(addresses []netlink.Addr, index int) []netip.Prefix {
	var out []netip.Prefix
	for _, a := range addresses {
		addr, ok := netip.AddrFromSlice(a.IP)
		if !ok || a.LinkIndex != index || a.Scope == unix.RT_SCOPE_LINK {
			continue
		}
		ones, _ := a.Mask.Size()
		out = append(out, netip.PrefixFrom(addr.Unmap(), ones))
	}
	return out
}
