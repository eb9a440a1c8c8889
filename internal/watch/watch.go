// SPDX-License-Identifier: Apache-2.0

// Package watch keeps a snapshot.Store equal to the API server's Services, EndpointSlices and Nodes.
//
//	API server ──list, watch──▶ reflector ──trim──▶ mirror ──▶ snapshot.Store
//
// Objects are trimmed to what a node needs as soon as they arrive; nothing else of them is kept. A second, short watch now
// and then finds what the first one lost.
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
	"k8s.io/apimachinery/pkg/util/wait"
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
	MendEvery        time.Duration // how often a watch is looked after; default 20 s
	Log              *slog.Logger
}

// Watcher runs the watches of one node.
type Watcher struct {
	log     *slog.Logger
	sources []source
	menders []*mender
	synced  chan struct{}
}

type source struct {
	name   string
	lists  cache.ListerWatcher
	kind   runtime.Object
	mirror *mirror

	reflector *cache.Reflector
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
			{name: "services", lists: client.Watched(core, "services", "", fields.Everything()), kind: &corev1.Service{}, mirror: services(config.Store)},
			{name: "endpointslices", lists: client.Watched(discovery, "endpointslices", "", fields.Everything()), kind: &discoveryv1.EndpointSlice{}, mirror: endpointSlices(config.Store)},
			{name: "nodes", lists: client.Watched(core, "nodes", "", which), kind: &corev1.Node{}, mirror: nodes(config.Store)},
		},
	}
	if config.Namespaces {
		w.sources = append(w.sources, source{name: "namespaces", lists: client.Watched(core, "namespaces", "", fields.Everything()), kind: &corev1.Namespace{}, mirror: namespaces(config.Store)})
	}
	if config.Pods {
		w.sources = append(w.sources, source{name: "pods", lists: client.Watched(core, "pods", "", running(config.PodsOf)), kind: &corev1.Pod{}, mirror: pods(config.Store)})
	}
	w.mend(config.MendEvery)
	return w, nil
}

// mend makes what watches over the sources.
func (w *Watcher) mend(every time.Duration) {
	if every <= 0 {
		every = mendEvery
	}
	for i := range w.sources {
		s := &w.sources[i]
		s.reflector = cache.NewReflectorWithOptions(s.lists, s.kind, s.mirror, cache.ReflectorOptions{
			Name:            s.name,
			MinWatchTimeout: 5 * time.Minute,
			Backoff:         backoff(),
		})
		w.menders = append(w.menders, &mender{
			name: s.name, lists: s.lists, mirror: s.mirror, synced: s.reflector.LastSyncResourceVersion, every: every, log: w.log,
		})
	}
}

// backoff is how a watch waits for an API server that is away. Between two tries 200 ms to 4 s go by, not the 30 to 60 s of
// client-go: a server that is back finds its nodes following it at once.
func backoff() *wait.Backoff {
	return &wait.Backoff{Duration: 200 * time.Millisecond, Factor: 2, Steps: 10, Cap: 2 * time.Second, Jitter: 1}
}

// Confirmed returns when everything that is known was last seen to be what the API server has; zero before the first
// lists. It is some seconds ago as long as the API server can be reached.
func (w *Watcher) Confirmed() time.Time {
	var least int64
	for i, m := range w.menders {
		if at := m.confirmed.Load(); i == 0 || at < least {
			least = at
		}
	}
	if least == 0 {
		return time.Time{}
	}
	return time.Unix(0, least)
}

// Mended returns how many events the watches lost, and were taken in all the same.
func (w *Watcher) Mended() (lost uint64) {
	for _, m := range w.menders {
		lost += m.lost.Load()
	}
	return lost
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
		running.Go(func() { s.reflector.RunWithContext(ctx) })
	}
	for _, m := range w.menders {
		running.Go(func() { m.run(ctx) })
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
