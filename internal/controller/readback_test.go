// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	corev1listers "k8s.io/client-go/listers/core/v1"
	discoveryv1listers "k8s.io/client-go/listers/discovery/v1"
	"k8s.io/client-go/tools/cache"
)

// late is a cache that follows the writes of a test some milliseconds behind, as an informer does.
type late struct{ cache.Indexer }

func newLate() late {
	return late{cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})}
}

func (l late) follow(change func(any) error, object any) {
	go func() {
		time.Sleep(20 * time.Millisecond)
		_ = change(object)
	}()
}

func TestWritesOfSlicesReturnWhenTheCacheShowsThem(t *testing.T) {
	ctx, store := t.Context(), newLate()
	lister := discoveryv1listers.NewEndpointSliceLister(store)
	slices := readBack{Interface: fake.NewClientset(), slices: lister}.DiscoveryV1().EndpointSlices("default")
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web-1", UID: "1", Generation: 1}, AddressType: discoveryv1.AddressTypeIPv4,
	}

	store.follow(store.Add, slice)
	if _, err := slices.Create(ctx, slice, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := lister.EndpointSlices("default").Get("web-1"); err != nil {
		t.Fatalf("after create: %v", err)
	}

	newer := slice.DeepCopy()
	newer.Generation = 2
	store.follow(store.Update, newer)
	if _, err := slices.Update(ctx, newer, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if cached, err := lister.EndpointSlices("default").Get("web-1"); err != nil || cached.Generation != 2 {
		t.Fatalf("after update: %v, %v", cached, err)
	}

	store.follow(store.Delete, newer)
	if err := slices.Delete(ctx, "web-1", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if cached, err := lister.EndpointSlices("default").Get("web-1"); !apierrors.IsNotFound(err) {
		t.Fatalf("after delete: %v, %v", cached, err)
	}
	if err := slices.Delete(ctx, "web-1", metav1.DeleteOptions{}); !apierrors.IsNotFound(err) {
		t.Fatalf("deleted again: %v, want not found", err)
	}
}

// answers writes nothing and answers as a server whose version moved on.
type answers struct {
	corev1client.EndpointsInterface
	written *corev1.Endpoints //nolint:staticcheck // clients of Endpoints live on
}

func (a answers) Update(context.Context, *corev1.Endpoints, metav1.UpdateOptions) (*corev1.Endpoints, error) {
	return a.written, nil
}

func TestWritesOfEndpointsReturnWhenTheCacheShowsThem(t *testing.T) {
	ctx, store := t.Context(), newLate()
	lister := corev1listers.NewEndpointsLister(store)
	client := readBack{Interface: fake.NewClientset(), endpoints: lister}.CoreV1().Endpoints("default")
	endpoints := &corev1.Endpoints{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", ResourceVersion: "1"}}

	store.follow(store.Add, endpoints)
	if _, err := client.Create(ctx, endpoints, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := lister.Endpoints("default").Get("web"); err != nil {
		t.Fatalf("after create: %v", err)
	}

	// The one that waits was written from version 1; the cache shows version 2 later.
	newer := endpoints.DeepCopy()
	newer.ResourceVersion = "2"
	store.follow(store.Update, newer)
	if _, err := (readBackEndpoints{answers{client, newer}, lister.Endpoints("default")}).Update(ctx, endpoints, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if cached, err := lister.Endpoints("default").Get("web"); err != nil || cached.ResourceVersion != "2" {
		t.Fatalf("after update: %v, %v", cached, err)
	}
}
