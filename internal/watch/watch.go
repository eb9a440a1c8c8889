// SPDX-License-Identifier: Apache-2.0

// Package watch keeps a snapshot.Store equal to the API server's Services, EndpointSlices and Nodes.
//
//	API server ──list, watch──▶ reflector ──trim──▶ mirror ──▶ snapshot.Store
//
// Objects are trimmed to what a node needs as soon as they arrive; nothing else of them is kept.
package watch

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/cache"

	"eastwest/internal/client"
	"eastwest/internal/snapshot"
)

// Config is what a Watcher needs.
type Config struct {
	Client *client.Client
	Store  *snapshot.Store
	// OnlyNode is the one Node to watch; empty is all.
	OnlyNode string
	// Namespaces and Pods are watched only where they are asked for: names need the first, verified pod records the
	// second, or, with PodsOf, only the pods of that node.
	Namespaces, Pods bool
	PodsOf           string
	Log              *slog.Logger
}

// Watcher runs the watches of one node.
type Watcher struct {
	log     *slog.Logger
	sources []source
	synced  chan struct{}
}

type source struct {
	name   string
	lists  cache.ListerWatcher
	kind   runtime.Object
	mirror *mirror
}

// New makes a watcher; Run starts it.
func New(config Config) (*Watcher, error) {
	if config.Client == nil || config.Store == nil || config.Log == nil {
		return nil, errors.New("make a watcher: Client, Store and Log are required")
	}
	core, discovery := config.Client.Core(), config.Client.Discovery()
	which := fields.Everything()
	if config.OnlyNode != "" {
		which = fields.OneTermEqualSelector("metadata.name", config.OnlyNode)
	}
	w := &Watcher{
		log:    config.Log,
		synced: make(chan struct{}),
		sources: []source{
			{"services", client.Watched(core, "services", "", fields.Everything()), &corev1.Service{}, services(config.Store)},
			{"endpointslices", client.Watched(discovery, "endpointslices", "", fields.Everything()), &discoveryv1.EndpointSlice{}, endpointSlices(config.Store)},
			{"nodes", client.Watched(core, "nodes", "", which), &corev1.Node{}, nodes(config.Store)},
		},
	}
	if config.Namespaces {
		w.sources = append(w.sources, source{"namespaces", client.Watched(core, "namespaces", "", fields.Everything()), &corev1.Namespace{}, namespaces(config.Store)})
	}
	if config.Pods {
		w.sources = append(w.sources, source{"pods", client.Watched(core, "pods", "", running(config.PodsOf)), &corev1.Pod{}, pods(config.Store)})
	}
	return w, nil
}

// running selects the pods that have not ended, of one node or of all.
func running(node string) fields.Selector {
	selectors := []fields.Selector{
		fields.OneTermNotEqualSelector("status.phase", string(corev1.PodSucceeded)),
		fields.OneTermNotEqualSelector("status.phase", string(corev1.PodFailed)),
	}
	if node != "" {
		selectors = append(selectors, fields.OneTermEqualSelector("spec.nodeName", node))
	}
	return fields.AndSelectors(selectors...)
}

// Synced is closed when every watch had its first full list, so that what is missing from the store is missing from
// the cluster.
func (w *Watcher) Synced() <-chan struct{} { return w.synced }

// Run watches until ctx ends; failed lists and watches are tried again with back-off.
func (w *Watcher) Run(ctx context.Context) error {
	var running sync.WaitGroup
	for _, s := range w.sources {
		reflector := cache.NewReflectorWithOptions(s.lists, s.kind, s.mirror, cache.ReflectorOptions{
			Name:            s.name,
			MinWatchTimeout: 5 * time.Minute,
		})
		running.Go(func() { reflector.RunWithContext(ctx) })
	}
	running.Go(func() { w.awaitLists(ctx) })
	running.Wait()
	return ctx.Err()
}

func (w *Watcher) awaitLists(ctx context.Context) {
	for _, s := range w.sources {
		select {
		case <-s.mirror.listed:
			w.log.Debug("first list", "resource", s.name)
		case <-ctx.Done():
			return
		}
	}
	close(w.synced)
}
