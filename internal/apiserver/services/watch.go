// SPDX-License-Identifier: Apache-2.0

package services

import (
	"fmt"
	"net/netip"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/labels"
	networkinginformers "k8s.io/client-go/informers/networking/v1"
	networkinglisters "k8s.io/client-go/listers/networking/v1"
	"k8s.io/client-go/tools/cache"
)

// Watch keeps the allocators in step with the ServiceCIDR and IPAddress objects, whoever makes them. It registers
// handlers on the informers, which the caller starts and stops.
func Watch(cidrs networkinginformers.ServiceCIDRInformer, addresses networkinginformers.IPAddressInformer, allocators ...*Addresses) error {
	lister := cidrs.Lister()
	reread := func(any) {
		for _, a := range allocators {
			a.setRanges(readyRanges(lister))
		}
	}
	if _, err := cidrs.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: reread, UpdateFunc: func(_, object any) { reread(object) }, DeleteFunc: reread,
	}); err != nil {
		return fmt.Errorf("watch ServiceCIDRs: %w", err)
	}
	note := func(object any, taken bool) {
		if gone, ok := object.(cache.DeletedFinalStateUnknown); ok {
			object = gone.Obj
		}
		address, ok := object.(*networkingv1.IPAddress)
		if !ok {
			return
		}
		addr, err := netip.ParseAddr(address.Name)
		if err != nil {
			return
		}
		for _, a := range allocators {
			if a.primary.Addr().Is4() == addr.Is4() {
				a.mark(addr, taken)
			}
		}
	}
	if _, err := addresses.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(object any) { note(object, true) }, DeleteFunc: func(object any) { note(object, false) },
	}); err != nil {
		return fmt.Errorf("watch IPAddresses: %w", err)
	}
	return nil
}

// readyRanges returns every range of the ServiceCIDRs and whether a Service may get an address from it: not while the
// object says that it is not ready, or is being deleted.
func readyRanges(lister networkinglisters.ServiceCIDRLister) map[netip.Prefix]bool {
	ranges := map[netip.Prefix]bool{}
	objects, err := lister.List(labels.Everything())
	if err != nil {
		return ranges
	}
	for _, object := range objects {
		ready := object.DeletionTimestamp == nil &&
			meta.IsStatusConditionTrue(object.Status.Conditions, networkingv1.ServiceCIDRConditionReady)
		for _, text := range object.Spec.CIDRs {
			if prefix, err := netip.ParsePrefix(text); err == nil {
				ranges[prefix.Masked()] = ranges[prefix.Masked()] || ready
			}
		}
	}
	return ranges
}

// setRanges takes over the ranges of this allocator's family.
func (a *Addresses) setRanges(ranges map[netip.Prefix]bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for prefix := range a.ranges {
		if _, still := ranges[prefix]; !still {
			delete(a.ranges, prefix)
		}
	}
	for prefix, ready := range ranges {
		if prefix.Addr().Is4() != a.primary.Addr().Is4() {
			continue
		}
		if a.ranges[prefix] == nil {
			a.ranges[prefix] = newBand(prefix)
		}
		a.ranges[prefix].ready = ready
	}
}
