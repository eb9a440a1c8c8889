// SPDX-License-Identifier: Apache-2.0

package snapshot

import (
	"net/netip"
	"slices"
	"strings"
)

// Pod is what names need of a pod: whose address it is.
type Pod struct {
	Namespace, Name string
	Addrs           []netip.Addr // of a pod that runs; never empty
}

// Key returns namespace/name.
func (p *Pod) Key() string { return p.Namespace + "/" + p.Name }

// PutNamespace says that a namespace exists.
func (s *Store) PutNamespace(name string) {
	s.change(func() {
		if _, ok := s.allNamespaces.get(name); ok {
			return
		}
		s.allNamespaces.put(name, true)
		s.namespaces[name] = true
	})
}

// DeleteNamespace says that a namespace is gone.
func (s *Store) DeleteNamespace(name string) {
	s.change(func() {
		s.allNamespaces.delete(name)
		s.namespaces[name] = true
	})
}

// PutPod adds or replaces a pod.
func (s *Store) PutPod(pod *Pod) {
	s.change(func() {
		old, _ := s.allPods.get(pod.Namespace)
		at, found := searchPod(old, pod.Name)
		if found && slices.Equal(old[at].Addrs, pod.Addrs) {
			return
		}
		next := slices.Clone(old)
		if found {
			next[at] = pod
		} else {
			next = slices.Insert(next, at, pod)
		}
		s.setPods(pod.Namespace, next)
	})
}

// DeletePod takes the pod namespace/name out.
func (s *Store) DeletePod(key string) {
	s.change(func() {
		namespace, name, _ := strings.Cut(key, "/")
		old, _ := s.allPods.get(namespace)
		if at, found := searchPod(old, name); found {
			s.setPods(namespace, slices.Delete(slices.Clone(old), at, at+1))
		}
	})
}

func searchPod(list []*Pod, name string) (int, bool) {
	return slices.BinarySearchFunc(list, name, func(p *Pod, name string) int { return strings.Compare(p.Name, name) })
}

func (s *Store) setPods(namespace string, list []*Pod) {
	s.namespaces[namespace] = true
	if len(list) == 0 {
		s.allPods.delete(namespace)
		return
	}
	s.allPods.put(namespace, list)
}
