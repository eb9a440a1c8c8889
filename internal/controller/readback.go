// SPDX-License-Identifier: Apache-2.0

package controller

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	discoveryv1client "k8s.io/client-go/kubernetes/typed/discovery/v1"
	corev1listers "k8s.io/client-go/listers/core/v1"
	discoveryv1listers "k8s.io/client-go/listers/discovery/v1"
)

// Writes are polled for, because the watch that shows them is a millisecond or two behind; after readBackLimit the caller
// goes on as it would have without the wait.
const (
	readBackPeriod = time.Millisecond
	readBackLimit  = time.Second
)

// readBack is a client whose writes of EndpointSlices and Endpoints return when the informers show them.
//
// Kubernetes' endpoint controllers refuse to work from a cache that is older than their own last write, and try again a
// second later, then two, then four. Pods of one Service that become ready within milliseconds of each other meet that
// each time, and a ready pod stays without traffic for as long. A queue never gives one Service to two workers, so a worker
// that waits for its write to be seen leaves the next one a cache that is new enough.
type readBack struct {
	kubernetes.Interface
	slices    discoveryv1listers.EndpointSliceLister
	endpoints corev1listers.EndpointsLister
}

func (s *shared) readBack() readBack {
	return readBack{s.client, s.informers.Discovery().V1().EndpointSlices().Lister(), s.informers.Core().V1().Endpoints().Lister()}
}

// seen waits until shown says that the cache is as new as a write, or the limit is reached.
func seen(ctx context.Context, shown func() bool) {
	_ = wait.PollUntilContextTimeout(ctx, readBackPeriod, readBackLimit, true, func(context.Context) (bool, error) { return shown(), nil })
}

// DiscoveryV1 implements kubernetes.Interface.
func (r readBack) DiscoveryV1() discoveryv1client.DiscoveryV1Interface {
	return readBackDiscovery{r.Interface.DiscoveryV1(), r.slices}
}

// CoreV1 implements kubernetes.Interface.
func (r readBack) CoreV1() corev1client.CoreV1Interface {
	return readBackCore{r.Interface.CoreV1(), r.endpoints}
}

type readBackDiscovery struct {
	discoveryv1client.DiscoveryV1Interface
	lister discoveryv1listers.EndpointSliceLister
}

// EndpointSlices implements discoveryv1client.EndpointSlicesGetter.
func (d readBackDiscovery) EndpointSlices(namespace string) discoveryv1client.EndpointSliceInterface {
	return readBackSlices{d.DiscoveryV1Interface.EndpointSlices(namespace), d.lister.EndpointSlices(namespace)}
}

type readBackSlices struct {
	discoveryv1client.EndpointSliceInterface
	lister discoveryv1listers.EndpointSliceNamespaceLister
}

// Create implements discoveryv1client.EndpointSliceInterface.
func (s readBackSlices) Create(ctx context.Context, slice *discoveryv1.EndpointSlice, options metav1.CreateOptions) (*discoveryv1.EndpointSlice, error) {
	written, err := s.EndpointSliceInterface.Create(ctx, slice, options)
	if err == nil {
		s.seen(ctx, written)
	}
	return written, err
}

// Update implements discoveryv1client.EndpointSliceInterface.
func (s readBackSlices) Update(ctx context.Context, slice *discoveryv1.EndpointSlice, options metav1.UpdateOptions) (*discoveryv1.EndpointSlice, error) {
	written, err := s.EndpointSliceInterface.Update(ctx, slice, options)
	if err == nil {
		s.seen(ctx, written)
	}
	return written, err
}

func (s readBackSlices) seen(ctx context.Context, written *discoveryv1.EndpointSlice) {
	seen(ctx, func() bool {
		cached, err := s.lister.Get(written.Name)
		return err == nil && (cached.UID != written.UID || cached.Generation >= written.Generation)
	})
}

// Delete implements discoveryv1client.EndpointSliceInterface.
func (s readBackSlices) Delete(ctx context.Context, name string, options metav1.DeleteOptions) error {
	before, missing := s.lister.Get(name)
	if err := s.EndpointSliceInterface.Delete(ctx, name, options); err != nil || missing != nil {
		return err
	}
	seen(ctx, func() bool {
		cached, err := s.lister.Get(name)
		return err != nil || cached.UID != before.UID || cached.DeletionTimestamp != nil
	})
	return nil
}

type readBackCore struct {
	corev1client.CoreV1Interface
	lister corev1listers.EndpointsLister
}

// Endpoints implements corev1client.EndpointsGetter.
func (c readBackCore) Endpoints(namespace string) corev1client.EndpointsInterface {
	return readBackEndpoints{c.CoreV1Interface.Endpoints(namespace), c.lister.Endpoints(namespace)}
}

type readBackEndpoints struct {
	corev1client.EndpointsInterface
	lister corev1listers.EndpointsNamespaceLister
}

// Create implements corev1client.EndpointsInterface.
//
//nolint:staticcheck // clients of Endpoints live on
func (e readBackEndpoints) Create(ctx context.Context, endpoints *corev1.Endpoints, options metav1.CreateOptions) (*corev1.Endpoints, error) {
	written, err := e.EndpointsInterface.Create(ctx, endpoints, options)
	if err == nil {
		seen(ctx, func() bool {
			_, err := e.lister.Get(written.Name)
			return err == nil
		})
	}
	return written, err
}

// Update implements corev1client.EndpointsInterface. Endpoints have no generation: what is waited for is any version but
// the one that was replaced.
//
//nolint:staticcheck // clients of Endpoints live on
func (e readBackEndpoints) Update(ctx context.Context, endpoints *corev1.Endpoints, options metav1.UpdateOptions) (*corev1.Endpoints, error) {
	replaced := endpoints.ResourceVersion
	written, err := e.EndpointsInterface.Update(ctx, endpoints, options)
	if err == nil && written.ResourceVersion != replaced {
		seen(ctx, func() bool {
			cached, err := e.lister.Get(written.Name)
			return err != nil || cached.ResourceVersion != replaced
		})
	}
	return written, err
}
