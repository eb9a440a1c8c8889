// SPDX-License-Identifier: Apache-2.0

package objects

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/tools/cache"

	"eastwest/internal/client"
)

// Services knows all services, trimmed to what environment variables say.
type Services struct {
	indexer  cache.Indexer
	informer cache.Controller
}

// NewServices prepares the list; Run fills it.
func NewServices(c *client.Client) *Services {
	store, controller := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: client.Watched(c.Core(), "services", "", fields.Everything()),
		ObjectType:    &corev1.Service{},
		Handler:       cache.ResourceEventHandlerFuncs{},
		Indexers:      cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc},
		Transform:     trim,
	})
	return &Services{indexer: store.(cache.Indexer), informer: controller}
}

// Run follows the services until ctx ends.
func (s *Services) Run(ctx context.Context) { s.informer.RunWithContext(ctx) }

// Wait returns when the first full list is there, or with the context's error.
func (s *Services) Wait(ctx context.Context) error {
	if !cache.WaitForCacheSync(ctx.Done(), s.informer.HasSynced) {
		return fmt.Errorf("wait for the list of services: %w", ctx.Err())
	}
	return nil
}

// Synced says whether the first full list is there.
func (s *Services) Synced() bool { return s.informer.HasSynced() }

// In returns the services of a namespace. They are shared: callers must not change them.
func (s *Services) In(namespace string) []*corev1.Service {
	items, err := s.indexer.ByIndex(cache.NamespaceIndex, namespace)
	if err != nil {
		return nil
	}
	out := make([]*corev1.Service, 0, len(items))
	for _, item := range items {
		out = append(out, item.(*corev1.Service))
	}
	return out
}

func trim(object any) (any, error) {
	service, ok := object.(*corev1.Service)
	if !ok {
		return object, nil
	}
	small := &corev1.Service{}
	small.Namespace, small.Name, small.UID, small.ResourceVersion = service.Namespace, service.Name, service.UID, service.ResourceVersion
	small.Spec.ClusterIP = service.Spec.ClusterIP
	small.Spec.Ports = service.Spec.Ports
	return small, nil
}
