// SPDX-License-Identifier: Apache-2.0

// Package ipvs reads and changes the kernel's virtual servers, IPVS, and the device that holds their addresses.
package ipvs

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/moby/ipvs"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"eastwest/internal/kernel/netns"
	"eastwest/internal/kernel/sysctl"
)

// ErrMissing is returned where the kernel has no IPVS.
var ErrMissing = errors.New("this kernel has no IPVS (module ip_vs, option CONFIG_IP_VS): load the module, or use --backend nftables")

// Schedulers are the ways to choose a destination that kernels have, the default first.
func Schedulers() []string {
	return []string{"rr", "wrr", "lc", "wlc", "lblc", "lblcr", "sh", "mh", "dh", "sed", "nq", "fo", "ovf"}
}

// Key is what tells virtual servers apart.
type Key struct {
	Addr     netip.Addr
	Port     uint16
	Protocol uint8
}

// String returns address:port/protocol.
func (k Key) String() string {
	return fmt.Sprintf("%s/%d", netip.AddrPortFrom(k.Addr, k.Port), k.Protocol)
}

// Server is a virtual server.
type Server struct {
	Key
	Scheduler   string
	Persistence uint32 // for how many seconds a client goes where it went; 0 is no persistence
}

// Destination is where a virtual server sends connections. With weight 0 it keeps those that it has and gets no other.
type Destination struct {
	Addr        netip.AddrPort
	Weight      int
	Connections int // that are remembered, also of those that have ended but just now; only read
}

// Conn talks to the IPVS of one network namespace. It is safe for concurrent use.
type Conn struct {
	netns string

	mu     sync.Mutex
	handle *ipvs.Handle
}

// New makes a connection to the network namespace at path, or to the program's own when path is empty.
func New(path string) *Conn { return &Conn{netns: path} }

// Check returns ErrMissing where the kernel has no IPVS; asking loads the module where there is one.
func Check() error {
	_, err := netlink.GenlFamilyGet("IPVS")
	if errors.Is(err, unix.ENOENT) {
		return ErrMissing
	}
	if err != nil {
		return fmt.Errorf("look for IPVS in the kernel: %w", err)
	}
	return nil
}

// Settings are those of a network namespace. Timeouts of 0 leave what the kernel has.
type Settings struct {
	TCP, TCPFin, UDP time.Duration // how long idle connections are remembered
}

// parameters make connections known to connection tracking, so that they can be masqueraded, and forget those to
// destinations that are gone.
var parameters = map[string]string{"conntrack": "1", "expire_nodest_conn": "1", "expire_quiescent_template": "1"}

// Prepare makes the settings right.
func (c *Conn) Prepare(_ context.Context, s Settings) error {
	return c.do(func(h *ipvs.Handle) error {
		err := c.inside(func() error {
			for name, value := range parameters {
				if err := sysctl.Ensure("net/ipv4/vs/"+name, value); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil || s == (Settings{}) {
			return err
		}
		if err := h.SetConfig(&ipvs.Config{TimeoutTCP: s.TCP, TimeoutTCPFin: s.TCPFin, TimeoutUDP: s.UDP}); err != nil {
			return fmt.Errorf("set timeouts of IPVS: %w", err)
		}
		return nil
	})
}

// Servers returns all virtual servers that have an address; those by packet mark are not ours to know.
func (c *Conn) Servers(context.Context) ([]Server, error) {
	var out []Server
	err := c.do(func(h *ipvs.Handle) error {
		list, err := h.GetServices()
		if err != nil {
			return fmt.Errorf("list virtual servers: %w", err)
		}
		for _, s := range list {
			addr, ok := netip.AddrFromSlice(s.Address)
			if s.FWMark != 0 || !ok {
				continue
			}
			server := Server{Key: Key{Addr: addr.Unmap(), Port: s.Port, Protocol: uint8(s.Protocol)}, Scheduler: s.SchedName}
			if s.Flags&flagPersistent != 0 {
				server.Persistence = s.Timeout
			}
			out = append(out, server)
		}
		return nil
	})
	return out, err
}

// Destinations returns those of a virtual server; none when there is no such server.
func (c *Conn) Destinations(_ context.Context, of Key) ([]Destination, error) {
	var out []Destination
	err := c.do(func(h *ipvs.Handle) error {
		list, err := h.GetDestinations(serviceOf(Server{Key: of}))
		if errors.Is(err, unix.ESRCH) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("list destinations of virtual server %s: %w", of, err)
		}
		for _, d := range list {
			if addr, ok := netip.AddrFromSlice(d.Address); ok {
				out = append(out, Destination{
					Addr: netip.AddrPortFrom(addr.Unmap(), d.Port), Weight: d.Weight, Connections: d.ActiveConnections + d.InactiveConnections,
				})
			}
		}
		return nil
	})
	return out, err
}

// Add makes a virtual server, or makes the one that is there like it.
func (c *Conn) Add(_ context.Context, s Server) error {
	return c.do(func(h *ipvs.Handle) error {
		err := h.NewService(serviceOf(s))
		if errors.Is(err, unix.EEXIST) {
			err = h.UpdateService(serviceOf(s))
		}
		if errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("add virtual server %s: this kernel has no scheduler %q (module ip_vs_%s)", s.Key, s.Scheduler, s.Scheduler)
		}
		return verb("add virtual server", s.Key, err)
	})
}

// Delete removes a virtual server; a missing one is no error.
func (c *Conn) Delete(_ context.Context, key Key) error {
	return c.do(func(h *ipvs.Handle) error {
		err := h.DelService(serviceOf(Server{Key: key}))
		if errors.Is(err, unix.ESRCH) {
			return nil
		}
		return verb("delete virtual server", key, err)
	})
}

// AddDestination adds a destination to a virtual server, or gives the one that is there its weight.
func (c *Conn) AddDestination(_ context.Context, to Key, d Destination) error {
	return c.do(func(h *ipvs.Handle) error {
		s, destination := serviceOf(Server{Key: to}), destinationOf(d)
		err := h.NewDestination(s, destination)
		if errors.Is(err, unix.EEXIST) {
			err = h.UpdateDestination(s, destination)
		}
		return verb("add destination "+d.Addr.String()+" to virtual server", to, err)
	})
}

// DeleteDestination removes a destination; a missing one is no error.
func (c *Conn) DeleteDestination(_ context.Context, of Key, addr netip.AddrPort) error {
	return c.do(func(h *ipvs.Handle) error {
		err := h.DelDestination(serviceOf(Server{Key: of}), destinationOf(Destination{Addr: addr}))
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ESRCH) {
			return nil
		}
		return verb("delete destination "+addr.String()+" of virtual server", of, err)
	})
}

// looking is how often Watch looks.
const looking = 15 * time.Second

// Watch calls gone when a virtual server or its address is missing, until ctx ends. The kernel tells nobody of changes of
// IPVS, and of addresses it does not say whose change it was.
func (c *Conn) Watch(ctx context.Context, canary Key, gone func()) error {
	defer c.Close()
	ticker := time.NewTicker(looking)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
		err := c.do(func(h *ipvs.Handle) error {
			_, err := h.GetService(serviceOf(Server{Key: canary}))
			return err
		})
		addresses, listed := NewDevice(c.netns).Addresses(ctx)
		if errors.Is(err, unix.ESRCH) || listed == nil && !addresses.On[canary.Addr] {
			gone()
		}
	}
}

func verb(what string, key Key, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %s: %w", what, key, err)
}

// Flags of a virtual server.
const (
	flagPersistent = 0x1
	flagHashPort   = 0x10 // mh: the client's port counts, too
)

func serviceOf(s Server) *ipvs.Service {
	out := &ipvs.Service{
		Address: s.Addr.AsSlice(), Port: s.Port, Protocol: uint16(s.Protocol), SchedName: s.Scheduler,
		AddressFamily: unix.AF_INET, Netmask: 0xffffffff,
	}
	if s.Addr.Is6() {
		out.AddressFamily, out.Netmask = unix.AF_INET6, 128
	}
	if s.Persistence > 0 {
		out.Flags, out.Timeout = flagPersistent, s.Persistence
	}
	if s.Scheduler == "mh" {
		out.Flags |= flagHashPort
	}
	return out
}

func destinationOf(d Destination) *ipvs.Destination {
	out := &ipvs.Destination{Address: d.Addr.Addr().AsSlice(), Port: d.Addr.Port(), Weight: d.Weight, AddressFamily: unix.AF_INET}
	if d.Addr.Addr().Is6() {
		out.AddressFamily = unix.AF_INET6
	}
	return out
}

// do runs fn with the one socket, which is opened anew after an error that is not an answer of the kernel.
func (c *Conn) do(fn func(*ipvs.Handle) error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.handle == nil {
		if err := Check(); err != nil {
			return err
		}
		handle, err := ipvs.New(c.netns)
		if err != nil {
			return fmt.Errorf("open a netlink socket to IPVS: %w", err)
		}
		c.handle = handle
	}
	err := fn(c.handle)
	var answer unix.Errno
	if err != nil && !errors.As(err, &answer) {
		c.handle.Close()
		c.handle = nil
	}
	return err
}

func (c *Conn) inside(fn func() error) error {
	if c.netns == "" {
		return fn()
	}
	return netns.Do(c.netns, fn)
}

// Close frees the socket; the next call opens it anew.
func (c *Conn) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.handle != nil {
		c.handle.Close()
		c.handle = nil
	}
}

// Known reports whether a scheduler has this name.
func Known(scheduler string) bool { return slices.Contains(Schedulers(), scheduler) }
