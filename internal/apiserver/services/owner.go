// SPDX-License-Identifier: Apache-2.0

package services

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"

	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	api "k8s.io/kubernetes/pkg/apis/core"
	"k8s.io/kubernetes/pkg/registry/core/service/ipallocator"
)

// Owner says for which Service addresses are being taken. Kubernetes' Service storage asks its allocators for "an
// address" without saying for whom, but an IPAddress object must name its Service; so the storage's hooks run one at a
// time, and Owner remembers whose turn it is. A turn reserves in memory alone; what goes to etcd goes there after it.
type Owner struct {
	hooks sync.Mutex // held for a turn

	mu   sync.Mutex
	turn *turn
}

// turn is one run of a hook for one Service.
type turn struct {
	asked    map[netip.Addr]bool // addresses that the Service names itself
	refused  map[netip.Addr]bool // addresses that turned out to be somebody else's
	reserved []reservation
}

type reservation struct {
	addresses *Addresses
	addr      netip.Addr
	taken     bool // before it was reserved, as far as is known
}

var errNoTurn = errors.New("an address was asked for outside of a Service's turn")

// hook is what the storage calls before it stores a Service.
type hook func() (genericregistry.FinishFunc, error)

// Wrap makes the storage's create and update hooks tell the owner which Service they run for.
func (o *Owner) Wrap(store *genericregistry.Store) {
	create, update := store.BeginCreate, store.BeginUpdate
	store.BeginCreate = func(ctx context.Context, object runtime.Object, options *metav1.CreateOptions) (genericregistry.FinishFunc, error) {
		return o.run(ctx, object, func() (genericregistry.FinishFunc, error) { return create(ctx, object, options) })
	}
	store.BeginUpdate = func(ctx context.Context, object, old runtime.Object, options *metav1.UpdateOptions) (genericregistry.FinishFunc, error) {
		return o.run(ctx, object, func() (genericregistry.FinishFunc, error) { return update(ctx, object, old, options) })
	}
}

// run calls a hook and takes what it reserved. When another server has taken one of the addresses meanwhile, the hook runs
// again and knows of it.
func (o *Owner) run(ctx context.Context, object runtime.Object, begin hook) (genericregistry.FinishFunc, error) {
	service, ok := object.(*api.Service)
	if !ok {
		return begin()
	}
	before, refused := service.DeepCopy(), map[netip.Addr]bool{}
	for {
		t := &turn{asked: named(service), refused: refused}
		finish, err := o.take(t, begin)
		if err != nil {
			t.drop()
			return nil, err
		}
		err = t.create(context.WithoutCancel(ctx), service)
		if err == nil {
			return finish, nil
		}
		// The hook gives back what its turn created, and leaves alone what was reserved only.
		finish(ctx, false)
		t.drop()
		if !errors.Is(err, ipallocator.ErrAllocated) {
			return nil, apierrors.NewInternalError(fmt.Errorf("failed to allocate a serviceIP: %w", err))
		}
		before.DeepCopyInto(service)
	}
}

func named(service *api.Service) map[netip.Addr]bool {
	out := map[netip.Addr]bool{}
	for _, text := range append([]string{service.Spec.ClusterIP}, service.Spec.ClusterIPs...) {
		if addr, err := netip.ParseAddr(text); err == nil {
			out[addr] = true
		}
	}
	return out
}

// take runs a hook in its turn.
func (o *Owner) take(t *turn, begin hook) (genericregistry.FinishFunc, error) {
	o.hooks.Lock()
	defer o.hooks.Unlock()
	o.set(t)
	defer o.set(nil)
	return begin()
}

func (o *Owner) set(t *turn) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.turn = t
}

// reserve notes an address for the Service whose turn it is. It returns ErrAllocated when that Service was refused it.
func (o *Owner) reserve(r reservation) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.turn == nil:
		return errNoTurn
	case o.turn.refused[r.addr]:
		return ipallocator.ErrAllocated
	}
	o.turn.reserved = append(o.turn.reserved, r)
	return nil
}

// create makes the IPAddress objects of what was reserved, in the order of the Service's families.
func (t *turn) create(ctx context.Context, service *api.Service) error {
	parent := networkingv1.ParentReference{Resource: "services", Namespace: service.Namespace, Name: service.Name}
	for len(t.reserved) > 0 {
		r := t.reserved[0]
		err := r.addresses.create(ctx, r.addr, parent, t.asked[r.addr])
		if errors.Is(err, ipallocator.ErrAllocated) {
			t.refused[r.addr] = true
		}
		if err != nil {
			return err
		}
		t.reserved = t.reserved[1:]
	}
	return nil
}

// drop forgets what was reserved and not created.
func (t *turn) drop() {
	for _, r := range t.reserved {
		r.addresses.drop(r.addr, r.taken || t.refused[r.addr])
	}
	t.reserved = nil
}
