// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"sync"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/tools/cache"

	"eastwest/internal/client"
)

// Ranges returns the ranges of virtual addresses that ServiceCIDRs name, sorted.
func Ranges(list []networkingv1.ServiceCIDR) []netip.Prefix {
	var out []netip.Prefix
	for i := range list {
		out = append(out, prefixes(list[i].Spec.CIDRs)...)
	}
	return sortedRanges(out)
}

func sortedRanges(list []netip.Prefix) []netip.Prefix {
	slices.SortFunc(list, netip.Prefix.Compare)
	return slices.Compact(list)
}

// FollowRanges tells the ranges that the cluster's ServiceCIDRs name, as Ranges does, after the first list and after each
// change, until ctx ends.
func FollowRanges(ctx context.Context, from *client.Client, tell func([]netip.Prefix)) {
	ranges := &rangeStore{named: map[string][]netip.Prefix{}, tell: tell}
	trim := func(in *networkingv1.ServiceCIDR, _ interned) (named, bool) {
		return named{in.Name, prefixes(in.Spec.CIDRs)}, true
	}
	ranges.mirror = newMirror(trim, ranges.put, ranges.remove)
	cache.NewReflectorWithOptions(client.Watched(from.Networking(), "servicecidrs", "", fields.Everything()), &networkingv1.ServiceCIDR{}, ranges,
		cache.ReflectorOptions{Name: "servicecidrs", Backoff: backoff()}).RunWithContext(ctx)
}

// named is what one ServiceCIDR says.
type named struct {
	name   string
	ranges []netip.Prefix
}

// rangeStore tells of all ranges when one or a list of them was taken in.
type rangeStore struct {
	*mirror
	tell func([]netip.Prefix)

	lock  sync.Mutex
	named map[string][]netip.Prefix
}

var _ cache.ReflectorStore = (*rangeStore)(nil)

func (s *rangeStore) put(n named) {
	s.lock.Lock()
	defer s.lock.Unlock()
	s.named[n.name] = n.ranges
}

func (s *rangeStore) remove(name string) {
	s.lock.Lock()
	defer s.lock.Unlock()
	delete(s.named, name)
}

func (s *rangeStore) told(err error) error {
	if err == nil {
		s.lock.Lock()
		all := sortedRanges(slices.Concat(slices.Collect(maps.Values(s.named))...))
		s.lock.Unlock()
		s.tell(all)
	}
	return err
}

// Add takes a ServiceCIDR in.
func (s *rangeStore) Add(object any) error { return s.told(s.mirror.Add(object)) }

// Update takes a newer version of one in.
func (s *rangeStore) Update(object any) error { return s.told(s.mirror.Update(object)) }

// Delete takes one out.
func (s *rangeStore) Delete(object any) error { return s.told(s.mirror.Delete(object)) }

// Replace takes a full list.
func (s *rangeStore) Replace(list []any, version string) error {
	return s.told(s.mirror.Replace(list, version))
}
