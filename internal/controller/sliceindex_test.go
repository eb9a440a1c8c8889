// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"fmt"
	"slices"
	"testing"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	discoveryv1listers "k8s.io/client-go/listers/discovery/v1"
)

// Whatever is asked for, the index answers as a look at every slice does.
func TestSlicesByIndexAreThoseOfALookAtAll(t *testing.T) {
	informer := informers.NewSharedInformerFactory(fake.NewClientset(), 0).Discovery().V1().EndpointSlices()
	indexed, err := newIndexedSlices(informer)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newIndexedSlices(informer); err != nil {
		t.Fatalf("indexed again: %v", err)
	}
	add := func(namespace, service, manager string, n int) {
		slice := &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprint(service, manager, n), Labels: map[string]string{}}}
		if service != "" {
			slice.Labels[discoveryv1.LabelServiceName] = service
		}
		if manager != "" {
			slice.Labels[discoveryv1.LabelManagedBy] = manager
		}
		if err := informer.Informer().GetIndexer().Add(slice); err != nil {
			t.Fatal(err)
		}
	}
	for n := range 2 {
		for _, namespace := range []string{"default", "other"} {
			for _, service := range []string{"", "web", "web-2", "db"} {
				for _, manager := range []string{"", "endpointslice-controller.k8s.io", "me"} {
					add(namespace, service, manager, n)
				}
			}
		}
	}
	for _, text := range []string{
		"", "kubernetes.io/service-name=web", "kubernetes.io/service-name=web,endpointslice.kubernetes.io/managed-by=me", "kubernetes.io/service-name=none",
		"kubernetes.io/service-name", "!kubernetes.io/service-name", "kubernetes.io/service-name in (web, db)", "kubernetes.io/service-name!=web",
		"endpointslice.kubernetes.io/managed-by=me", "kubernetes.io/service-name=web,kubernetes.io/service-name=db",
	} {
		selector, err := labels.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		for _, namespace := range []string{"default", "other", "none"} {
			want, got := sliceNames(t, informer.Lister(), namespace, selector), sliceNames(t, indexed.Lister(), namespace, selector)
			if !slices.Equal(got, want) {
				t.Errorf("%s, %q: %v, want %v", namespace, text, got, want)
			}
		}
	}
}

func sliceNames(t *testing.T, lister discoveryv1listers.EndpointSliceLister, namespace string, selector labels.Selector) []string {
	found, err := lister.EndpointSlices(namespace).List(selector)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, slice := range found {
		names = append(names, slice.Namespace+"/"+slice.Name)
	}
	slices.Sort(names)
	return names
}
