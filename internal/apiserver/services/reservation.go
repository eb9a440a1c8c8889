// SPDX-License-Identifier: Apache-2.0

package services

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kubernetes/pkg/registry/core/service/ipallocator"
)

// An address that is asked for by name, and whose IPAddress is there, may be one that another server is about to give back.
const (
	patience = 2 * time.Second
	period   = 50 * time.Millisecond
)

// How often the deletion of an IPAddress is tried. What is left then, the repair loop frees.
const deletions = 5

// reserve takes an address in memory, for the Service whose turn it is. It waits while the address is given back.
func (a *Addresses) reserve(addr netip.Addr) error {
	a.mu.Lock()
	for a.leaving[addr] != nil {
		gone := a.leaving[addr]
		a.mu.Unlock()
		<-gone
		a.mu.Lock()
	}
	defer a.mu.Unlock()
	_, taken := a.taken[addr]
	a.taken[addr] = struct{}{}
	if a.reserved[addr] {
		return ipallocator.ErrAllocated
	}
	if err := a.owner.reserve(reservation{a, addr, taken}); err != nil {
		return err
	}
	a.reserved[addr] = true
	return nil
}

// create makes the IPAddress object of a reserved address, which is what makes it the Service's. It returns ErrAllocated
// when somebody else has it.
func (a *Addresses) create(ctx context.Context, addr netip.Addr, parent networkingv1.ParentReference, asked bool) error {
	object := &networkingv1.IPAddress{
		ObjectMeta: metav1.ObjectMeta{
			Name: addr.String(),
			Labels: map[string]string{
				networkingv1.LabelIPAddressFamily: string(a.family),
				networkingv1.LabelManagedBy:       ipallocator.ControllerName,
			},
		},
		Spec: networkingv1.IPAddressSpec{ParentRef: &parent},
	}
	deadline := time.Now().Add(patience)
	for {
		_, err := a.client.Create(ctx, object, metav1.CreateOptions{})
		switch {
		case err == nil:
			a.mu.Lock()
			defer a.mu.Unlock()
			delete(a.reserved, addr)
			a.taken[addr] = struct{}{}
			return nil
		case !apierrors.IsAlreadyExists(err):
			return fmt.Errorf("create IPAddress %s: %w", addr, err)
		case !asked || time.Now().After(deadline) || !a.abandoned(ctx, addr):
			return ipallocator.ErrAllocated
		}
		time.Sleep(period)
	}
}

// abandoned reports whether the Service for which an address is taken does not exist: it is gone, and its address goes as
// well, or it is about to be made.
func (a *Addresses) abandoned(ctx context.Context, addr netip.Addr) bool {
	object, err := a.client.Get(ctx, addr.String(), metav1.GetOptions{})
	if err != nil || object.Spec.ParentRef == nil {
		return apierrors.IsNotFound(err)
	}
	_, err = a.services.Services(object.Spec.ParentRef.Namespace).Get(ctx, object.Spec.ParentRef.Name, metav1.GetOptions{})
	return apierrors.IsNotFound(err)
}

// drop forgets a reservation of which no IPAddress was made.
func (a *Addresses) drop(addr netip.Addr, taken bool) {
	a.mu.Lock()
	delete(a.reserved, addr)
	a.mu.Unlock()
	a.mark(addr, taken)
}

// Release gives an address back. An address that is not taken, or of no known range, is no error. The Service that had it
// is gone already, so nobody waits for the deletion of the IPAddress but who wants the same address.
func (a *Addresses) Release(ip net.IP) error {
	addr, ok := netip.AddrFromSlice(ip)
	if !ok {
		return nil
	}
	addr = addr.Unmap()
	a.mu.Lock()
	if a.reserved[addr] || a.leaving[addr] != nil {
		// Its reservation is dropped by who made it; what leaves already leaves once.
		a.mu.Unlock()
		return nil
	}
	gone := make(chan struct{})
	a.leaving[addr] = gone
	a.mu.Unlock()
	go func() {
		a.remove(addr)
		a.mark(addr, false)
		a.mu.Lock()
		delete(a.leaving, addr)
		a.mu.Unlock()
		close(gone)
	}()
	return nil
}

func (a *Addresses) remove(addr netip.Addr) {
	wait := period
	for try := 1; ; try++ {
		err := a.client.Delete(context.Background(), addr.String(), metav1.DeleteOptions{})
		if err == nil || apierrors.IsNotFound(err) {
			return
		}
		if try == deletions {
			a.log.Warn("the address of a Service that is gone is not given back yet; a repair every 3 min does", "address", addr, "err", err)
			return
		}
		time.Sleep(wait)
		wait *= 2
	}
}
