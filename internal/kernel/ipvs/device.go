// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"eastwest/internal/kernel/link"
	"eastwest/internal/kernel/netns"
)

// DeviceName is the device that people know from kube-proxy: `ip address show kube-ipvs0`. IPVS sees only packets that are
// delivered here, so that this device has the addresses of virtual servers. It stays down and answers no neighbour.
const DeviceName = "kube-ipvs0"

// Device holds addresses of virtual servers: a dummy device, or the loopback where the kernel has no such devices. It is safe
// for concurrent use.
type Device struct {
	netns string
	none  bool // the kernel is to be taken for one without dummy devices
}

// NewDevice makes a handle to the device in the network namespace at path, or in the program's own when path is empty.
func NewDevice(path string) *Device { return &Device{netns: path} }

// WithoutDummies makes a handle for which the kernel has no dummy devices.
func WithoutDummies(path string) *Device { return &Device{netns: path, none: true} }

const loopback = "lo"

// Prepare makes the device.
func (d *Device) Prepare(context.Context) error {
	if d.none {
		return nil
	}
	err := d.inside(func() error {
		if _, err := netlink.LinkByName(DeviceName); err == nil {
			return nil
		}
		return netlink.LinkAdd(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Name: DeviceName}})
	})
	if err != nil && !errors.Is(err, unix.EEXIST) && !errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("make device %s: %w", DeviceName, err)
	}
	return nil
}

// Addresses are those of a node.
type Addresses struct {
	On        map[netip.Addr]bool // the device
	Elsewhere map[netip.Addr]bool // on any other, and where the device is the loopback, there as well
	Shared    bool                // the device is the loopback: not everything on it comes from virtual servers
}

// Addresses returns the node's addresses.
func (d *Device) Addresses(context.Context) (Addresses, error) {
	out := Addresses{On: map[netip.Addr]bool{}, Elsewhere: map[netip.Addr]bool{}}
	err := d.inside(func() error {
		own, err := d.link()
		if err != nil {
			return err
		}
		out.Shared = own.Attrs().Name == loopback
		handle, err := link.Open() // asks again when addresses change meanwhile
		if err != nil {
			return err
		}
		defer handle.Close()
		list, err := handle.AddrList(nil, netlink.FAMILY_ALL)
		for _, a := range list {
			addr, ok := netip.AddrFromSlice(a.IP)
			if !ok {
				continue
			}
			on := a.LinkIndex == own.Attrs().Index
			if on {
				out.On[addr.Unmap()] = true
			}
			if !on || out.Shared {
				out.Elsewhere[addr.Unmap()] = true
			}
		}
		return err
	})
	if err != nil {
		return Addresses{}, fmt.Errorf("list addresses: %w", err)
	}
	return out, nil
}

// link finds the device, or the loopback in its place.
func (d *Device) link() (netlink.Link, error) {
	if link, err := netlink.LinkByName(DeviceName); err == nil && !d.none {
		return link, nil
	}
	return netlink.LinkByName(loopback)
}

// Add adds a single address; one that is there is no error.
func (d *Device) Add(_ context.Context, addr netip.Addr) error {
	err := d.change(addr, netlink.AddrAdd)
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("add address %s of virtual servers: %w", addr, err)
	}
	return nil
}

// Delete removes a single address; a missing one is no error.
func (d *Device) Delete(_ context.Context, addr netip.Addr) error {
	err := d.change(addr, netlink.AddrDel)
	if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
		return fmt.Errorf("delete address %s of virtual servers: %w", addr, err)
	}
	return nil
}

// Remove deletes a dummy device; a missing one is no error.
func (d *Device) Remove(context.Context) error {
	err := d.inside(func() error {
		link, err := netlink.LinkByName(DeviceName)
		if err != nil {
			return err
		}
		return netlink.LinkDel(link)
	})
	var missing netlink.LinkNotFoundError
	if err != nil && !errors.As(err, &missing) {
		return fmt.Errorf("delete device %s: %w", DeviceName, err)
	}
	return nil
}

func (d *Device) change(addr netip.Addr, how func(netlink.Link, *netlink.Addr) error) error {
	return d.inside(func() error {
		link, err := d.link()
		if err != nil {
			return err
		}
		return how(link, host(addr))
	})
}

// host makes an address that no packet of other connections gets as its source: of the host alone, and of IPv6 deprecated. By
// that they are also told from others on the loopback.
func host(addr netip.Addr) *netlink.Addr {
	out := &netlink.Addr{
		IPNet: &net.IPNet{IP: addr.AsSlice(), Mask: net.CIDRMask(addr.BitLen(), addr.BitLen())},
		Scope: int(netlink.SCOPE_HOST),
	}
	if addr.Is6() {
		out.Flags, out.Scope = unix.IFA_F_NODAD, 0
		out.ValidLft, out.PreferedLft = math.MaxUint32, 0
	}
	return out
}

// again is how long Watch waits before it listens anew.
const again = time.Second

// Watch calls changed after the node has an address elsewhere that it had not, or has one no more, until ctx ends. Links that
// share an address, as those to pods do, come and go without. When the kernel tells more than can be read, that counts as well.
func (d *Device) Watch(ctx context.Context, changed func()) error {
	for {
		if err := d.listen(ctx, changed); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(again):
			changed()
		}
	}
}

// listen returns nil when the kernel's socket was closed.
func (d *Device) listen(ctx context.Context, changed func()) error {
	updates, done := make(chan netlink.AddrUpdate), make(chan struct{})
	defer close(done)
	if err := d.inside(func() error { return netlink.AddrSubscribe(updates, done) }); err != nil {
		return fmt.Errorf("listen to changes of addresses: %w", err)
	}
	last, err := d.Addresses(ctx)
	if err != nil {
		return err
	}
	for {
		select {
		case _, ok := <-updates:
			if !ok {
				return nil
			}
			now, err := d.Addresses(ctx)
			if err != nil {
				return err
			}
			if !maps.Equal(now.Elsewhere, last.Elsewhere) {
				changed()
			}
			last = now
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (d *Device) inside(fn func() error) error {
	if d.netns == "" {
		return fn()
	}
	return netns.Do(d.netns, fn)
}
