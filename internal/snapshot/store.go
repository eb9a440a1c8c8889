// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"cmp"
	"net/netip"
	"reflect"
	"slices"
	"sync"
)

// Store collects changes until somebody takes them. It is safe for concurrent use. Values that are put into it must not
// be modified afterwards.
type Store struct {
	mu       sync.Mutex
	now      Snapshot
	owner    map[string]string // key of a slice → key of its service
	services map[string]bool   // changed since the last Take
	nodes    map[string]bool

	namespaces map[string]bool
	onLink     bool

	changed chan struct{}
}

// NewStore makes an empty store.
func NewStore() *Store {
	return &Store{
		owner: map[string]string{}, services: map[string]bool{}, nodes: map[string]bool{},
		namespaces: map[string]bool{}, changed: make(chan struct{}, 1),
	}
}

// Changed receives after a change; one receive may stand for many changes.
func (s *Store) Changed() <-chan struct{} { return s.changed }

// Take returns the snapshot and what changed since the last Take.
func (s *Store) Take() (Snapshot, Changes) {
	s.mu.Lock()
	defer s.mu.Unlock()
	changes := Changes{Services: sortedKeys(s.services), Nodes: sortedKeys(s.nodes), OnLink: s.onLink, Namespaces: sortedKeys(s.namespaces)}
	s.onLink = false
	clear(s.services)
	clear(s.nodes)
	clear(s.namespaces)
	return s.now, changes
}

// PutService adds or replaces a service.
func (s *Store) PutService(service *Service) {
	s.change(func() {
		if old, ok := s.now.Services.Get(service.Key()); ok && reflect.DeepEqual(old, service) {
			return
		}
		s.now.Services = s.now.Services.With(map[string]*Service{service.Key(): service})
		s.services[service.Key()] = true
	})
}

// DeleteService takes a service out; its slices stay.
func (s *Store) DeleteService(key string) {
	s.change(func() {
		s.now.Services = s.now.Services.With(nil, key)
		s.services[key] = true
	})
}

// PutSlice adds or replaces a slice; it may have moved to another service.
func (s *Store) PutSlice(slice *Slice) {
	s.change(func() {
		key, service := slice.Key(), slice.ServiceKey()
		if old, ok := s.owner[key]; ok && old != service {
			s.setSlices(old, without(s.slicesOf(old), key))
		}
		s.owner[key] = service
		list := append(without(s.slicesOf(service), key), slice)
		slices.SortFunc(list, func(a, b *Slice) int { return cmp.Compare(a.Name, b.Name) })
		s.setSlices(service, list)
	})
}

// DeleteSlice takes the slice namespace/name out.
func (s *Store) DeleteSlice(key string) {
	s.change(func() {
		service, ok := s.owner[key]
		if !ok {
			return
		}
		delete(s.owner, key)
		s.setSlices(service, without(s.slicesOf(service), key))
	})
}

// PutNode adds or replaces a node.
func (s *Store) PutNode(node *Node) {
	s.change(func() {
		if old, ok := s.now.Nodes.Get(node.Name); ok && reflect.DeepEqual(old, node) {
			return // a heartbeat
		}
		s.now.Nodes = s.now.Nodes.With(map[string]*Node{node.Name: node})
		s.nodes[node.Name] = true
	})
}

// DeleteNode takes a node out.
func (s *Store) DeleteNode(name string) {
	s.change(func() {
		s.now.Nodes = s.now.Nodes.With(nil, name)
		s.nodes[name] = true
	})
}

// SetOnLink says which networks this node is on, sorted.
func (s *Store) SetOnLink(networks []netip.Prefix) {
	s.change(func() {
		if !slices.Equal(s.now.OnLink, networks) {
			s.now.OnLink, s.onLink = networks, true
		}
	})
}

func (s *Store) change(fn func()) {
	s.mu.Lock()
	fn()
	dirty := len(s.services)+len(s.nodes)+len(s.namespaces) > 0 || s.onLink
	s.mu.Unlock()
	if !dirty {
		return
	}
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

func (s *Store) slicesOf(service string) []*Slice {
	list, _ := s.now.Slices.Get(service)
	return list
}

func (s *Store) setSlices(service string, list []*Slice) {
	s.services[service] = true
	if len(list) == 0 {
		s.now.Slices = s.now.Slices.With(nil, service)
		return
	}
	s.now.Slices = s.now.Slices.With(map[string][]*Slice{service: list})
}

// without returns a copy of list, so that older snapshots keep theirs.
func without(list []*Slice, key string) []*Slice {
	return slices.DeleteFunc(slices.Clone(list), func(s *Slice) bool { return s.Key() == key })
}

func sortedKeys(set map[string]bool) []string {
	keys := make([]string, 0, len(set))
	for key := range set {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
