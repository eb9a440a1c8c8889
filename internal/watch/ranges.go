// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"context"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/cache"

	"eastwest/internal/client"
)

// FollowRanges tells the ranges that the cluster's ServiceCIDRs name, in no order, after the first list and after each change, until ctx
// ends. A cluster that does not tell them, for it is older or does not grant it, has none until it does.
func FollowRanges(ctx context.Context, from *client.Client, log *slog.Logger, tell func([]netip.Prefix)) {
	if !awaitRanges(ctx, from, log, tell) {
		return
	}
	ranges := &rangeStore{named: map[string][]netip.Prefix{}, tell: tell}
	trim := func(in *networkingv1.ServiceCIDR, _ interned) (named, bool) {
		return named{in.Name, prefixes(in.Spec.CIDRs)}, true
	}
	ranges.mirror = newMirror(trim, ranges.put, ranges.remove)
	cache.NewReflectorWithOptions(client.Watched(from.Networking(), serviceCIDRs, "", fields.Everything()), &networkingv1.ServiceCIDR{}, ranges,
		cache.ReflectorOptions{Name: serviceCIDRs, Backoff: backoff()}).RunWithContext(ctx)
}

const serviceCIDRs = "servicecidrs"

// awaitRanges returns true when the cluster tells its ranges, and tells of none when it says that it will not. An API server that is away
// is waited for: without it nothing else is known either, and what is in the kernel goes on.
func awaitRanges(ctx context.Context, from *client.Client, log *slog.Logger, tell func([]netip.Prefix)) bool {
	away, refused := backoff(), &wait.Backoff{Duration: 200 * time.Millisecond, Factor: 2, Steps: 10, Cap: time.Minute}
	for waits, told := false, false; ; {
		err := from.Networking().Get().Resource(serviceCIDRs).Do(ctx).Error()
		pause := away
		switch {
		case err == nil:
			return true
		case apierrors.IsNotFound(err), apierrors.IsForbidden(err):
			if pause = refused; !told {
				log.Warn("the cluster does not tell the ranges of services: addresses that no Service has are refused in those of flags alone", "err", err)
				tell(nil)
			}
			told = true
		case !waits && ctx.Err() == nil:
			waits = true
			log.Warn("wait for the API server to tell the ranges of services", "err", err)
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(pause.Step()):
		}
	}
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
		all := slices.Concat(slices.Collect(maps.Values(s.named))...)
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
