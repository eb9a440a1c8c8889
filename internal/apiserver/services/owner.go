// SPDX-License-Identifier: Apache-2.0

package services

import (
	"context"
	"sync"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	genericregistry "k8s.io/apiserver/pkg/registry/generic/registry"
	api "k8s.io/kubernetes/pkg/apis/core"
)

// Owner says for which Service addresses are being taken. Kubernetes' Service storage asks its allocators for "an
// address" without saying for whom, but an IPAddress object must name its Service; so the storage's hooks run one at a
// time, and Owner remembers whose turn it is.
type Owner struct {
	turn sync.Mutex
	mu   sync.Mutex
	name string
	ns   string
}

// Wrap makes the storage's create and update hooks tell the owner which Service they run for.
func (o *Owner) Wrap(store *genericregistry.Store) {
	create, update := store.BeginCreate, store.BeginUpdate
	store.BeginCreate = func(ctx context.Context, object runtime.Object, options *metav1.CreateOptions) (genericregistry.FinishFunc, error) {
		defer o.take(object)()
		return create(ctx, object, options)
	}
	store.BeginUpdate = func(ctx context.Context, object, old runtime.Object, options *metav1.UpdateOptions) (genericregistry.FinishFunc, error) {
		defer o.take(object)()
		return update(ctx, object, old, options)
	}
}

// take waits for this Service's turn and returns the function that ends it.
func (o *Owner) take(object runtime.Object) func() {
	service, ok := object.(*api.Service)
	if !ok {
		return func() {}
	}
	o.turn.Lock()
	o.set(service.Namespace, service.Name)
	return func() {
		o.set("", "")
		o.turn.Unlock()
	}
}

func (o *Owner) set(namespace, name string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ns, o.name = namespace, name
}

// reference returns the parent of an IPAddress that is taken now.
func (o *Owner) reference() *networkingv1.ParentReference {
	o.mu.Lock()
	defer o.mu.Unlock()
	return &networkingv1.ParentReference{Resource: "services", Namespace: o.ns, Name: o.name}
}
