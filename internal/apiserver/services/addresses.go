// SPDX-License-Identifier: Apache-2.0

// Package services gives Services their virtual IPs.
//
// An address is taken by creating the IPAddress object (networking.k8s.io/v1) that has its name: etcd lets exactly one
// of two creations win, so no address is ever given twice, whichever server is asked and whatever is killed when. It is
// reserved in memory first, so that only those who want the same address wait for each other (reservation.go). The
// ranges come from ServiceCIDR objects. An address that nobody asked for by name is the lowest free one of the dynamic
// band, and of the static band when that is full (Kubernetes enhancement 3070: the static band, at the start of a range,
// is kept for addresses that people choose).
//
//	ServiceCIDRs ─▶ ranges ─┐
//	                        ├─▶ Addresses.AllocateNext ─▶ reservation ─▶ create IPAddress ─▶ etcd
//	IPAddresses ─▶ taken ───┘
package services

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"

	"k8s.io/client-go/kubernetes"
	coreclient "k8s.io/client-go/kubernetes/typed/core/v1"
	networkingclient "k8s.io/client-go/kubernetes/typed/networking/v1"
	api "k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/registry/core/service/ipallocator"
)

// Addresses allocates virtual IPs of one family. It implements the allocator that Kubernetes' Service storage asks.
type Addresses struct {
	family  api.IPFamily
	primary netip.Prefix
	client  networkingclient.IPAddressInterface
	owner   *Owner
	// services tells whether the Service of an address is still there.
	services coreclient.ServicesGetter
	log      *slog.Logger

	mu       sync.Mutex
	ranges   map[netip.Prefix]*band // guarded by mu, as all that follows
	taken    map[netip.Addr]struct{}
	reserved map[netip.Addr]bool          // without an IPAddress yet
	leaving  map[netip.Addr]chan struct{} // closed when the IPAddress is gone
}

var _ ipallocator.Interface = (*Addresses)(nil)

// NewAddresses makes an allocator for the family of primary, the range of the default ServiceCIDR. It knows no range
// until Watch has delivered the ServiceCIDRs; until then it refuses with ipallocator.ErrNotReady. owner says on behalf
// of which Service a call is made.
func NewAddresses(primary netip.Prefix, client kubernetes.Interface, owner *Owner, log *slog.Logger) *Addresses {
	family := api.IPv4Protocol
	if primary.Addr().Is6() {
		family = api.IPv6Protocol
	}
	return &Addresses{
		family: family, primary: primary.Masked(), client: client.NetworkingV1().IPAddresses(), owner: owner, services: client.CoreV1(), log: log,
		ranges: map[netip.Prefix]*band{}, taken: map[netip.Addr]struct{}{},
		reserved: map[netip.Addr]bool{}, leaving: map[netip.Addr]chan struct{}{},
	}
}

// Allocate takes one address. It returns ErrAllocated when the address is taken, ErrMismatchedNetwork or ErrNotInRange
// when no ServiceCIDR has it, and ErrNotReady when the only ones that do are not ready.
func (a *Addresses) Allocate(ip net.IP) error {
	addr, ok := netip.AddrFromSlice(ip)
	if !ok {
		return fmt.Errorf("allocate %v: not an IP address", ip)
	}
	addr = addr.Unmap()
	if err := a.inRange(addr); err != nil {
		return err
	}
	return a.reserve(addr)
}

func (a *Addresses) inRange(addr netip.Addr) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	known := false
	for prefix, band := range a.ranges {
		if !prefix.Contains(addr) {
			continue
		}
		known = true
		switch {
		case !band.ready:
		case !band.usable(addr):
			return &ipallocator.ErrNotInRange{IP: addr.AsSlice(), ValidRange: prefix.String()}
		default:
			return nil
		}
	}
	if known || len(a.ranges) == 0 {
		return ipallocator.ErrNotReady
	}
	return ipallocator.ErrMismatchedNetwork
}

// AllocateNext takes the lowest free address. It returns ErrFull when there is none.
func (a *Addresses) AllocateNext() (net.IP, error) {
	for {
		addr, err := a.lowestFree()
		if err != nil {
			return nil, err
		}
		err = a.reserve(addr)
		if err == nil {
			return addr.AsSlice(), nil
		}
		// Another request was faster: reserve has noted the address as taken, so the next turn finds another.
		if !errors.Is(err, ipallocator.ErrAllocated) {
			return nil, err
		}
	}
}

// lowestFree returns the lowest address that is not known to be taken, over all ready ranges: their dynamic bands first.
func (a *Addresses) lowestFree() (netip.Addr, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	ready := false
	for _, static := range []bool{false, true} {
		var lowest netip.Addr
		for _, band := range a.ranges {
			if !band.ready {
				continue
			}
			ready = true
			if addr := band.lowest(static, a.taken); addr.IsValid() && (!lowest.IsValid() || addr.Less(lowest)) {
				lowest = addr
			}
		}
		if lowest.IsValid() {
			return lowest, nil
		}
	}
	if !ready {
		return netip.Addr{}, ipallocator.ErrNotReady
	}
	return netip.Addr{}, ipallocator.ErrFull
}

// mark notes whether an address is taken, and tells the bands, which remember where the lowest free one may be.
func (a *Addresses) mark(addr netip.Addr, taken bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if taken {
		a.taken[addr] = struct{}{}
		return
	}
	delete(a.taken, addr)
	for _, band := range a.ranges {
		band.freed(addr)
	}
}

// ForEach calls fn for every address that is known to be taken.
func (a *Addresses) ForEach(fn func(net.IP)) {
	a.mu.Lock()
	all := make([]netip.Addr, 0, len(a.taken))
	for addr := range a.taken {
		all = append(all, addr)
	}
	a.mu.Unlock()
	for _, addr := range all {
		fn(addr.AsSlice())
	}
}

// CIDR returns the range of the default ServiceCIDR.
func (a *Addresses) CIDR() net.IPNet {
	return net.IPNet{IP: a.primary.Addr().AsSlice(), Mask: net.CIDRMask(a.primary.Bits(), a.primary.Addr().BitLen())}
}

// IPFamily returns the family of the addresses.
func (a *Addresses) IPFamily() api.IPFamily { return a.family }

// Has reports whether an address is known to be taken.
func (a *Addresses) Has(ip net.IP) bool {
	addr, ok := netip.AddrFromSlice(ip)
	a.mu.Lock()
	defer a.mu.Unlock()
	_, taken := a.taken[addr.Unmap()]
	return ok && taken
}

// Destroy has nothing to free: the watches end with their informers.
func (a *Addresses) Destroy() {}

// EnableMetrics does nothing: this allocator keeps no metrics.
func (a *Addresses) EnableMetrics() {}

// DryRun returns an allocator that checks and answers, and takes nothing.
func (a *Addresses) DryRun() ipallocator.Interface { return dryRun{a} }

// dryRun answers without creating objects. An address that it would choose is not known before it is taken, so it names
// the first of the range, as kube-apiserver does.
type dryRun struct{ *Addresses }

func (d dryRun) Allocate(ip net.IP) error {
	addr, ok := netip.AddrFromSlice(ip)
	if !ok {
		return fmt.Errorf("allocate %v: not an IP address", ip)
	}
	return d.inRange(addr.Unmap())
}

func (d dryRun) AllocateNext() (net.IP, error) {
	if _, err := d.lowestFree(); err != nil {
		return nil, err
	}
	return d.CIDR().IP, nil
}

func (d dryRun) Release(net.IP) error { return nil }

func (d dryRun) DryRun() ipallocator.Interface { return d }
