// SPDX-License-Identifier: Apache-2.0

package loadbalancer

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"

	"eastwest/internal/addressplan"
)

// Class is the loadBalancerClass that names this controller. Services without a class are its own as well.
const Class = "eastwest.local/pool"

// Condition in a Service's status says that its addresses come from the pool, so that nodes answer for them; addresses
// that somebody else wrote there are somebody else's to announce.
const Condition = "eastwest.local/AddressFromPool"

// assignment is what becomes of one Service.
type assignment struct {
	service   *corev1.Service
	addresses []netip.Addr // none where the Service is to have none
	err       error        // why it has not got what it wants
}

// assign gives every Service that wants one an address of each of its families. A Service keeps what it has; of two with
// the same address the older keeps it. Services that are not ours and never were are left out.
func assign(services []*corev1.Service, pool []addressplan.Range) []assignment {
	taken := map[netip.Addr]bool{}
	var out []assignment
	var waiting []*corev1.Service
	for _, service := range byAge(services) {
		switch {
		case !ours(service):
			if had(service) {
				out = append(out, assignment{service: service})
			} else {
				// Somebody else's addresses may be in our range all the same.
				for _, address := range held(service) {
					taken[address] = true
				}
			}
		case keeps(service, pool, taken):
			out = append(out, assignment{service: service, addresses: held(service)})
			for _, address := range held(service) {
				taken[address] = true
			}
		default:
			waiting = append(waiting, service)
		}
	}
	for _, service := range waiting {
		addresses, err := choose(service, pool, taken)
		for _, address := range addresses {
			taken[address] = true
		}
		out = append(out, assignment{service, addresses, err})
	}
	return out
}

func byAge(services []*corev1.Service) []*corev1.Service {
	services = slices.Clone(services)
	slices.SortFunc(services, func(a, b *corev1.Service) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
	})
	return services
}

func ours(service *corev1.Service) bool {
	class := service.Spec.LoadBalancerClass
	return service.Spec.Type == corev1.ServiceTypeLoadBalancer && service.DeletionTimestamp == nil && (class == nil || *class == Class)
}

// had reports whether a Service has addresses of the pool.
func had(service *corev1.Service) bool {
	return meta.IsStatusConditionTrue(service.Status.Conditions, Condition)
}

// held returns the addresses that a Service's status names.
func held(service *corev1.Service) []netip.Addr {
	var out []netip.Addr
	for _, ingress := range service.Status.LoadBalancer.Ingress {
		if address, err := netip.ParseAddr(ingress.IP); err == nil {
			out = append(out, address)
		}
	}
	return out
}

// keeps reports whether what a Service has is still what it should have.
func keeps(service *corev1.Service, pool []addressplan.Range, taken map[netip.Addr]bool) bool {
	have := held(service)
	wanted, err := families(service, pool)
	if err != nil || !had(service) || len(have) != len(wanted) {
		return false
	}
	for i, address := range have {
		if address.Is6() != wanted[i] || taken[address] || !within(pool, address) {
			return false
		}
	}
	asked := service.Spec.LoadBalancerIP
	return asked == "" || slices.ContainsFunc(have, func(a netip.Addr) bool { return a.String() == asked })
}

// families returns for which of a Service's families it gets an address, true for IPv6, in the Service's order: those
// that the pool has, and all where the Service requires both.
func families(service *corev1.Service, pool []addressplan.Range) ([]bool, error) {
	var out []bool
	for _, family := range service.Spec.IPFamilies {
		ipv6 := family == corev1.IPv6Protocol
		if slices.ContainsFunc(pool, func(r addressplan.Range) bool { return r.First.Is6() == ipv6 }) {
			out = append(out, ipv6)
			continue
		}
		if policy := service.Spec.IPFamilyPolicy; policy != nil && *policy == corev1.IPFamilyPolicyRequireDualStack {
			return nil, fmt.Errorf("the pool %s has no %s address, and the Service requires both families", ranges(pool), family)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("the pool %s has no address of the families %v", ranges(pool), service.Spec.IPFamilies)
	}
	return out, nil
}

// choose gives a Service the address that it asks for, or else the lowest free one, of each family.
func choose(service *corev1.Service, pool []addressplan.Range, taken map[netip.Addr]bool) ([]netip.Addr, error) {
	wanted, err := families(service, pool)
	if err != nil {
		return nil, err
	}
	asked, err := askedFor(service, pool, taken)
	if err != nil {
		return nil, err
	}
	var out []netip.Addr
	for _, ipv6 := range wanted {
		if asked.IsValid() && asked.Is6() == ipv6 {
			out = append(out, asked)
			continue
		}
		address, ok := lowest(pool, ipv6, taken)
		if !ok {
			return nil, fmt.Errorf("every address of the pool %s is in use", ranges(pool))
		}
		out = append(out, address)
	}
	if asked.IsValid() && !slices.Contains(out, asked) {
		return nil, fmt.Errorf("loadBalancerIP %s is not of the Service's families %v", asked, service.Spec.IPFamilies)
	}
	return out, nil
}

func askedFor(service *corev1.Service, pool []addressplan.Range, taken map[netip.Addr]bool) (netip.Addr, error) {
	text := service.Spec.LoadBalancerIP
	if text == "" {
		return netip.Addr{}, nil
	}
	address, err := netip.ParseAddr(text)
	switch {
	case err != nil:
		return netip.Addr{}, fmt.Errorf("loadBalancerIP: %w", err)
	case !within(pool, address):
		return netip.Addr{}, fmt.Errorf("loadBalancerIP %s is not in the pool %s", address, ranges(pool))
	case taken[address]:
		return netip.Addr{}, fmt.Errorf("loadBalancerIP %s is in use by another Service", address)
	}
	return address, nil
}

func lowest(pool []addressplan.Range, ipv6 bool, taken map[netip.Addr]bool) (netip.Addr, bool) {
	for _, r := range pool {
		if r.First.Is6() != ipv6 {
			continue
		}
		// At most as many steps as addresses are taken.
		for address := r.First; r.Contains(address); address = address.Next() {
			if !taken[address] {
				return address, true
			}
		}
	}
	return netip.Addr{}, false
}

func within(pool []addressplan.Range, address netip.Addr) bool {
	return slices.ContainsFunc(pool, func(r addressplan.Range) bool { return r.Contains(address) })
}

func ranges(pool []addressplan.Range) string {
	texts := make([]string, len(pool))
	for i, r := range pool {
		texts[i] = r.String()
	}
	return strings.Join(texts, ",")
}
