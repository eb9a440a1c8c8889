// SPDX-License-Identifier: Apache-2.0

package apidouble

import (
	"encoding/json"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/apimachinery/pkg/watch"
)

// store keeps a value and tells the watchers. The caller holds the lock.
func (s *Server) store(t target, value runtime.Object) {
	accessor, err := meta.Accessor(value)
	if err != nil {
		return
	}
	kind := watch.Modified
	if _, there := s.objects[t.key()]; !there {
		kind = watch.Added
		if accessor.GetUID() == "" {
			accessor.SetUID(types.UID(fmt.Sprintf("uid-%d", s.version+1)))
		}
		if created := accessor.GetCreationTimestamp(); created.IsZero() {
			accessor.SetCreationTimestamp(metav1.NewTime(time.Now()))
		}
	}
	accessor.SetResourceVersion(s.next())
	s.objects[t.key()] = object{t.resource, value}
	s.tell(t, kind, value)
}

func (s *Server) remove(t target) {
	o := s.objects[t.key()]
	delete(s.objects, t.key())
	if o.value == nil {
		return
	}
	last := o.value.DeepCopyObject()
	if accessor, err := meta.Accessor(last); err == nil {
		accessor.SetResourceVersion(s.next())
	}
	s.tell(t, watch.Deleted, last)
}

func (s *Server) patch(t target, kind types.PatchType, body []byte) (runtime.Object, error) {
	value, err := s.get(t)
	if err != nil {
		return nil, err
	}
	if kind != types.StrategicMergePatchType {
		return nil, apierrors.NewBadRequest("only strategic merge patches are known here")
	}
	before, err := json.Marshal(value)
	if err != nil {
		return nil, err
	}
	empty, err := s.Client.Scheme().New(s.typed(value).GetObjectKind().GroupVersionKind())
	if err != nil {
		return nil, err
	}
	after, err := strategicpatch.StrategicMergePatch(before, body, empty)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	if err := json.Unmarshal(after, empty); err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	old, _ := meta.Accessor(value)
	if accessor, err := meta.Accessor(empty); err != nil || accessor.GetUID() != old.GetUID() {
		return nil, apierrors.NewConflict(corev1.Resource(t.resource), t.name, fmt.Errorf("another UID"))
	}
	s.store(t, empty)
	return empty, nil
}

// Put creates or replaces an object, as its owner would.
func (s *Server) Put(resource string, value runtime.Object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	accessor, err := meta.Accessor(value)
	if err != nil {
		return
	}
	s.store(target{resource: resource, namespace: accessor.GetNamespace(), name: accessor.GetName()}, value.DeepCopyObject())
}

// Drop removes an object at once, as a forced deletion does.
func (s *Server) Drop(resource, namespace, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(target{resource: resource, namespace: namespace, name: name})
}

// Get returns a copy of an object, or nil.
func (s *Server) Get(resource, namespace, name string) runtime.Object {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.objects[target{resource: resource, namespace: namespace, name: name}.key()]
	if !ok {
		return nil
	}
	return o.value.DeepCopyObject()
}

// Events returns the reasons of all events about an object's name, in no order, each with its message.
func (s *Server) Events(name string) map[string][]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string][]string{}
	for _, o := range s.objects {
		if e, ok := o.value.(*corev1.Event); ok && e.InvolvedObject.Name == name {
			out[e.Reason] = append(out[e.Reason], e.Message)
		}
	}
	return out
}
