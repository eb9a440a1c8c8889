// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"fmt"
	"strconv"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/tools/cache"

	"eastwest/internal/snapshot"
)

// mirror is what a reflector writes into. It keeps names and versions alone, to see at a new full list what is gone, and
// whether an event tells something new.
type mirror struct {
	trim   func(object any, names interned) (any, error) // to what the store keeps; nil for what it does not want
	put    func(trimmed any)
	delete func(key string)

	mu       sync.Mutex
	names    interned
	versions map[string]uint64
	floor    uint64               // version of the last full list
	gone     [2]map[string]uint64 // versions of deletions since mending last succeeded, and of those before
	once     sync.Once
	listed   chan struct{} // closed after the first full list
}

var (
	_ cache.ReflectorStore    = (*mirror)(nil)
	_ cache.TransformingStore = (*mirror)(nil)
)

// trimmed is an object on its way into the store.
type trimmed struct {
	key     string
	version uint64 // 0 when the server's versions are no numbers
	value   any    // nil when the store does not want it
}

func newMirror[T, V any](trim func(T, interned) (V, bool), put func(V), remove func(string)) *mirror {
	return &mirror{
		trim: func(object any, names interned) (any, error) {
			typed, ok := object.(T)
			if !ok {
				return nil, fmt.Errorf("watched object is a %T, want %T", object, typed)
			}
			if value, ok := trim(typed, names); ok {
				return value, nil
			}
			return nil, nil
		},
		put: func(value any) { put(value.(V)) }, delete: remove,
		names: interned{}, versions: map[string]uint64{}, gone: [2]map[string]uint64{{}, {}}, listed: make(chan struct{}),
	}
}

// Transformer trims the objects of a first list as they come in, so that they are never in memory all at once.
func (m *mirror) Transformer() cache.TransformFunc {
	return func(object any) (any, error) {
		m.mu.Lock()
		defer m.mu.Unlock()
		return m.trimmed(object)
	}
}

func (m *mirror) trimmed(object any) (trimmed, error) {
	if done, ok := object.(trimmed); ok {
		return done, nil
	}
	key, version, err := identify(object)
	if err != nil {
		return trimmed{}, err
	}
	value, err := m.trim(object, m.names)
	return trimmed{key, version, value}, err
}

// Add takes an object in.
func (m *mirror) Add(object any) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	t, err := m.trimmed(object)
	if err != nil {
		return err
	}
	if !m.stale(t.key, t.version) && !same(m.versions, t) {
		m.set(t)
	}
	return nil
}

// same reports whether an object is known in that version: told twice, by a second watch or a new full list, it is no change.
func same(versions map[string]uint64, t trimmed) bool {
	known, there := versions[t.key]
	return there && t.version != 0 && known == t.version
}

// Update takes a newer version of an object in.
func (m *mirror) Update(object any) error { return m.Add(object) }

// Delete takes an object out.
func (m *mirror) Delete(object any) error {
	key, version, err := identify(object)
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if version == 0 || !m.stale(key, version) {
		m.unset(key, version)
	}
	return nil
}

// Replace takes a full list: what it does not name is gone.
func (m *mirror) Replace(list []any, version string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	before := m.versions
	m.versions = make(map[string]uint64, len(list))
	m.floor, m.gone = number(version), [2]map[string]uint64{{}, {}}
	for _, object := range list {
		t, err := m.trimmed(object)
		if err != nil {
			return err
		}
		if m.versions[t.key] = t.version; !same(before, t) {
			m.set(t)
		}
	}
	for key := range before {
		if _, there := m.versions[key]; !there {
			m.delete(key)
		}
	}
	m.once.Do(func() { close(m.listed) })
	return nil
}

// Resync has nothing to do: the pipeline resyncs with the kernel, not with the API.
func (m *mirror) Resync() error { return nil }

// stale reports whether something newer is known than a version of an object. The caller holds the lock.
func (m *mirror) stale(key string, version uint64) bool {
	if known, there := m.versions[key]; there {
		return version != 0 && version < known
	}
	return version != 0 && version <= max(m.floor, m.gone[0][key], m.gone[1][key])
}

func (m *mirror) set(t trimmed) {
	m.versions[t.key] = t.version
	if t.value == nil {
		m.delete(t.key)
		return
	}
	m.put(t.value)
}

func (m *mirror) unset(key string, version uint64) {
	delete(m.versions, key)
	if version != 0 {
		m.gone[0][key] = version
	}
	m.delete(key)
}

// mend takes in what somebody else than the watch tells, and reports whether it was news.
func (m *mirror) mend(object any, deleted bool) (key string, version uint64, news bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t, err := m.trimmed(object)
	if err != nil || t.version == 0 || m.stale(t.key, t.version) {
		return t.key, t.version, false, err
	}
	known, there := m.versions[t.key]
	switch {
	case deleted:
		if there {
			m.unset(t.key, t.version)
		}
		return t.key, t.version, there, nil
	case known == t.version:
		return t.key, t.version, false, nil
	}
	m.set(t)
	return t.key, t.version, true, nil
}

// removeOthers takes out what a list of a version does not name, and returns it.
func (m *mirror) removeOthers(there map[string]bool, version uint64) (removed []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key, known := range m.versions {
		if !there[key] && known <= version {
			m.unset(key, version)
			removed = append(removed, key)
		}
	}
	return removed
}

// forgetGone drops deletions that no second watch can tell about any more.
func (m *mirror) forgetGone() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.gone = [2]map[string]uint64{{}, m.gone[0]}
}

// floorText returns the version of the last full list.
func (m *mirror) floorText() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return strconv.FormatUint(m.floor, 10)
}

// identify returns namespace/name, or the name alone of what has no namespace, and the version.
func identify(object any) (key string, version uint64, err error) {
	if tombstone, ok := object.(cache.DeletedFinalStateUnknown); ok {
		return tombstone.Key, 0, nil
	}
	access, err := meta.Accessor(object)
	if err != nil {
		return "", 0, fmt.Errorf("name watched object %T: %w", object, err)
	}
	if version, err = strconv.ParseUint(access.GetResourceVersion(), 10, 64); err != nil {
		version = 0 // then the watch alone is trusted
	}
	if access.GetNamespace() == "" {
		return strings.Clone(access.GetName()), version, nil
	}
	return access.GetNamespace() + "/" + access.GetName(), version, nil
}

func services(store *snapshot.Store) *mirror {
	trim := func(s *corev1.Service, names interned) (*snapshot.Service, bool) { return trimService(s, names), true }
	return newMirror(trim, store.PutService, store.DeleteService)
}

func endpointSlices(store *snapshot.Store) *mirror {
	return newMirror(trimSlice, store.PutSlice, store.DeleteSlice)
}

func nodes(store *snapshot.Store) *mirror {
	trim := func(n *corev1.Node, _ interned) (*snapshot.Node, bool) { return TrimNode(n), true }
	return newMirror(trim, store.PutNode, store.DeleteNode)
}

func namespaces(store *snapshot.Store) *mirror {
	trim := func(n *corev1.Namespace, names interned) (string, bool) { return names.of(n.Name), true }
	return newMirror(trim, store.PutNamespace, store.DeleteNamespace)
}

// pods keeps those that have an address and are not on their way out: an address may belong to another pod the next
// moment.
func pods(store *snapshot.Store) *mirror {
	trim := func(p *corev1.Pod, names interned) (*snapshot.Pod, bool) {
		pod := trimPod(p, names)
		return pod, len(pod.Addrs) > 0 && p.DeletionTimestamp == nil
	}
	return newMirror(trim, store.PutPod, store.DeletePod)
}
