// SPDX-License-Identifier: Apache-2.0

// Package ipvstest is IPVS and its device in memory, for tests: the kernel's refusals, and failures on demand.
package ipvstest

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"sync"

	"eastwest/internal/kernel/ipvs"
)

// Fake is one network namespace's IPVS. The zero value is empty; it is safe for concurrent use.
type Fake struct {
	// Fail is asked before every call; its error is returned and nothing done. May be nil.
	Fail func() error
	// Elsewhere are the node's own addresses.
	Elsewhere []netip.Addr
	// Connections says how many connections a destination has. May be nil.
	Connections func(netip.AddrPort) int

	mu      sync.Mutex
	servers map[ipvs.Key]*server
	on      map[netip.Addr]bool
	device  bool
}

type server struct {
	ipvs.Server
	destinations map[netip.AddrPort]int // weight
}

func (f *Fake) do(fn func() error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.Fail != nil {
		if err := f.Fail(); err != nil {
			return err
		}
	}
	if f.servers == nil {
		f.servers, f.on = map[ipvs.Key]*server{}, map[netip.Addr]bool{}
	}
	return fn()
}

// Prepare does nothing.
func (f *Fake) Prepare(context.Context, ipvs.Settings) error {
	return f.do(func() error { return nil })
}

// Servers returns the virtual servers.
func (f *Fake) Servers(context.Context) (out []ipvs.Server, err error) {
	err = f.do(func() error {
		for _, s := range f.servers {
			out = append(out, s.Server)
		}
		return nil
	})
	return out, err
}

// Destinations returns those of a virtual server.
func (f *Fake) Destinations(_ context.Context, of ipvs.Key) (out []ipvs.Destination, err error) {
	err = f.do(func() error {
		if s := f.servers[of]; s != nil {
			for addr, weight := range s.destinations {
				d := ipvs.Destination{Addr: addr, Weight: weight}
				if f.Connections != nil {
					d.Connections = f.Connections(addr)
				}
				out = append(out, d)
			}
		}
		return nil
	})
	return out, err
}

// Add makes a virtual server, or makes the one that is there like it.
func (f *Fake) Add(_ context.Context, s ipvs.Server) error {
	return f.do(func() error {
		if f.servers[s.Key] == nil {
			f.servers[s.Key] = &server{destinations: map[netip.AddrPort]int{}}
		}
		f.servers[s.Key].Server = s
		return nil
	})
}

// Delete removes a virtual server.
func (f *Fake) Delete(_ context.Context, key ipvs.Key) error {
	return f.do(func() error {
		delete(f.servers, key)
		return nil
	})
}

// AddDestination adds a destination, or gives the one that is there its weight.
func (f *Fake) AddDestination(_ context.Context, to ipvs.Key, d ipvs.Destination) error {
	return f.do(func() error {
		if f.servers[to] == nil {
			return fmt.Errorf("there is no virtual server %s", to)
		}
		f.servers[to].destinations[d.Addr] = d.Weight
		return nil
	})
}

// DeleteDestination removes a destination.
func (f *Fake) DeleteDestination(_ context.Context, of ipvs.Key, addr netip.AddrPort) error {
	return f.do(func() error {
		if f.servers[of] != nil {
			delete(f.servers[of].destinations, addr)
		}
		return nil
	})
}

// Flush forgets all virtual servers, as somebody with `ipvsadm -C` would.
func (f *Fake) Flush() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.servers = nil
}

// Device is the device of the same namespace.
func (f *Fake) Device() *Device { return &Device{f} }

// Device holds addresses.
type Device struct{ fake *Fake }

// Prepare makes the device.
func (d *Device) Prepare(context.Context) error {
	return d.fake.do(func() error { d.fake.device = true; return nil })
}

// Addresses returns those on the device and the node's own.
func (d *Device) Addresses(context.Context) (out ipvs.Addresses, err error) {
	err = d.fake.do(func() error {
		out.On, out.Elsewhere = maps.Clone(d.fake.on), map[netip.Addr]bool{}
		for _, addr := range d.fake.Elsewhere {
			out.Elsewhere[addr] = true
		}
		return nil
	})
	return out, err
}

// Add adds an address.
func (d *Device) Add(_ context.Context, addr netip.Addr) error {
	return d.fake.do(func() error {
		if !d.fake.device {
			return fmt.Errorf("there is no device for %s", addr)
		}
		d.fake.on[addr] = true
		return nil
	})
}

// Delete removes an address.
func (d *Device) Delete(_ context.Context, addr netip.Addr) error {
	return d.fake.do(func() error { delete(d.fake.on, addr); return nil })
}

// Remove deletes the device.
func (d *Device) Remove(context.Context) error {
	return d.fake.do(func() error { d.fake.device = false; clear(d.fake.on); return nil })
}
