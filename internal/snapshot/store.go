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
	mu sync.Mutex
	// What there is; see Snapshot.
	allServices   staged[*Service]
	allSlices     staged[[]*Slice]
	allNodes      staged[*Node]
	allNamespaces staged[bool]
	allPods       staged[[]*Pod]
	networks      []netip.Prefix
	ranges        []netip.Prefix

	owner    map[string]string // key of a slice → key of its service
	services map[string]bool   // changed since the last Take
	nodes    map[string]bool

	namespaces map[string]bool
	onLink     bool
	reranged   bool

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
	changes := Changes{Services: sortedKeys(s.services), Nodes: sortedKeys(s.nodes), OnLink: s.onLink, ServiceCIDRs: s.reranged, Namespaces: sortedKeys(s.namespaces)}
	s.onLink, s.reranged = false, false
	// New ones: a map that once held everything stays large, and slow to go through.
	s.services, s.nodes, s.namespaces = map[string]bool{}, map[string]bool{}, map[string]bool{}
	return Snapshot{
		Services: s.allServices.fold(), Slices: s.allSlices.fold(), Nodes: s.allNodes.fold(), OnLink: s.networks,
		ServiceCIDRs: s.ranges,
		Namespaces:   s.allNamespaces.fold(), Pods: s.allPods.fold(),
	}, changes
}

// PutService adds or replaces a service.
func (s *Store) PutService(service *Service) {
	s.change(func() {
		key := service.Key()
		if old, ok := s.allServices.get(key); ok && reflect.DeepEqual(old, service) {
			return
		}
		s.allServices.put(key, service)
		s.services[key] = true
	})
}

// DeleteService takes a service out; its slices stay.
func (s *Store) DeleteService(key string) {
	s.change(func() {
		s.allServices.delete(key)
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
		if old, ok := s.allNodes.get(node.Name); ok && reflect.DeepEqual(old, node) {
			return // a heartbeat
		}
		s.allNodes.put(node.Name, node)
		s.nodes[node.Name] = true
	})
}

// DeleteNode takes a node out.
func (s *Store) DeleteNode(name string) {
	s.change(func() {
		s.allNodes.delete(name)
		s.nodes[name] = true
	})
}

// SetOnLink says which networks this node is on, sorted.
func (s *Store) SetOnLink(networks []netip.Prefix) {
	s.change(func() {
		if !slices.Equal(s.networks, networks) {
			s.networks, s.onLink = networks, true
		}
	})
}

// SetServiceCIDRs says which ranges virtual addresses are from, sorted.
func (s *Store) SetServiceCIDRs(ranges []netip.Prefix) {
	s.change(func() {
		if !slices.Equal(s.ranges, ranges) {
			s.ranges, s.reranged = ranges, true
		}
	})
}

func (s *Store) change(fn func()) {
	s.mu.Lock()
	fn()
	dirty := len(s.services)+len(s.nodes)+len(s.namespaces) > 0 || s.onLink || s.reranged
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
	list, _ := s.allSlices.get(service)
	return list
}

func (s *Store) setSlices(service string, list []*Slice) {
	s.services[service] = true
	if len(list) == 0 {
		s.allSlices.delete(service)
		return
	}
	s.allSlices.put(service, list)
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
