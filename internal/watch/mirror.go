// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"fmt"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/tools/cache"

	"eastwest/internal/snapshot"
)

// mirror is what a reflector writes into. It keeps the names alone, to see at a new full list what is gone.
type mirror struct {
	put    func(object any) error
	delete func(key string)

	mu     sync.Mutex
	keys   map[string]bool
	once   sync.Once
	listed chan struct{} // closed after the first full list
}

var _ cache.ReflectorStore = (*mirror)(nil)

func newMirror(put func(any) error, remove func(string)) *mirror {
	return &mirror{put: put, delete: remove, keys: map[string]bool{}, listed: make(chan struct{})}
}

// Add takes an object in.
func (m *mirror) Add(object any) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.add(object)
}

// Update takes a newer version of an object in.
func (m *mirror) Update(object any) error { return m.Add(object) }

// Delete takes an object out.
func (m *mirror) Delete(object any) error {
	key, err := keyOf(object)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.keys, key)
	m.delete(key)
	return nil
}

// Replace takes a full list: what it does not name is gone.
func (m *mirror) Replace(list []any, _ string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	gone := m.keys
	m.keys = make(map[string]bool, len(list))
	for _, object := range list {
		if err := m.add(object); err != nil {
			return err
		}
	}
	for key := range gone {
		if !m.keys[key] {
			m.delete(key)
		}
	}
	m.once.Do(func() { close(m.listed) })
	return nil
}

// Resync has nothing to do: the pipeline resyncs with the kernel, not with the API.
func (m *mirror) Resync() error { return nil }

func (m *mirror) add(object any) error {
	key, err := keyOf(object)
	if err != nil {
		return err
	}
	if err := m.put(object); err != nil {
		return err
	}
	m.keys[key] = true
	return nil
}

// keyOf returns namespace/name, or the name alone of what has no namespace.
func keyOf(object any) (string, error) {
	if tombstone, ok := object.(cache.DeletedFinalStateUnknown); ok {
		return tombstone.Key, nil
	}
	access, err := meta.Accessor(object)
	if err != nil {
		return "", fmt.Errorf("name watched object %T: %w", object, err)
	}
	if access.GetNamespace() == "" {
		return access.GetName(), nil
	}
	return access.GetNamespace() + "/" + access.GetName(), nil
}

// typed makes a put function of one that takes a certain kind.
func typed[T any](put func(T)) func(any) error {
	return func(object any) error {
		value, ok := object.(T)
		if !ok {
			return fmt.Errorf("watched object is a %T, want %T", object, value)
		}
		put(value)
		return nil
	}
}

func services(store *snapshot.Store) *mirror {
	return newMirror(typed(func(s serviceObject) { store.PutService(trimService(s)) }), store.DeleteService)
}

func endpointSlices(store *snapshot.Store) *mirror {
	put := func(s sliceObject) {
		if slice, ok := trimSlice(s); ok {
			store.PutSlice(slice)
			return
		}
		store.DeleteSlice(s.Namespace + "/" + s.Name)
	}
	return newMirror(typed(put), store.DeleteSlice)
}

func nodes(store *snapshot.Store) *mirror {
	return newMirror(typed(func(n nodeObject) { store.PutNode(trimNode(n)) }), store.DeleteNode)
}

func namespaces(store *snapshot.Store) *mirror {
	put := func(n *corev1.Namespace) { store.PutNamespace(strings.Clone(n.Name)) }
	return newMirror(typed(put), store.DeleteNamespace)
}

// pods keeps those that have an address and are not on their way out: an address may belong to another pod the next
// moment.
func pods(store *snapshot.Store) *mirror {
	put := func(p *corev1.Pod) {
		if pod := trimPod(p); len(pod.Addrs) > 0 && p.DeletionTimestamp == nil {
			store.PutPod(pod)
			return
		}
		store.DeletePod(p.Namespace + "/" + p.Name)
	}
	return newMirror(typed(put), store.DeletePod)
}
