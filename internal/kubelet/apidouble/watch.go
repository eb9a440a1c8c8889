// SPDX-License-Identifier: Apache-2.0

package apidouble

import (
	"encoding/json"
	"net/http"
	"sort"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
)

// watcher is one open watch.
type watcher struct {
	target   target
	selector fields.Selector
	events   chan event
}

type event struct {
	Type   string         `json:"type"`
	Object runtime.Object `json:"object"`
}

func (w *watcher) wants(t target, value runtime.Object) bool {
	return w.target.resource == t.resource && (w.target.namespace == "" || w.target.namespace == t.namespace) && w.selector.Matches(visible(value))
}

// visible returns the fields that selectors may name.
func visible(value runtime.Object) fields.Set {
	set := fields.Set{}
	if accessor, err := meta.Accessor(value); err == nil {
		set["metadata.name"], set["metadata.namespace"] = accessor.GetName(), accessor.GetNamespace()
	}
	if pod, ok := value.(*corev1.Pod); ok {
		set["spec.nodeName"] = pod.Spec.NodeName
	}
	return set
}

func (s *Server) tell(t target, kind watch.EventType, value runtime.Object) {
	for w := range s.watchers {
		if w.wants(t, value) {
			w.events <- event{string(kind), s.typed(value)}
		}
	}
}

func (s *Server) list(w http.ResponseWriter, r *http.Request, t target) {
	query := r.URL.Query()
	selector, err := fields.ParseSelector(query.Get("fieldSelector"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	watching := query.Get("watch") == "true" || query.Get("watch") == "1"
	watcher := &watcher{target: t, selector: selector, events: make(chan event, 10000)}
	s.mu.Lock()
	found := s.matching(watcher)
	version := s.version
	if watching {
		s.watchers[watcher] = true
	}
	s.mu.Unlock()
	if !watching {
		s.writeList(w, found, version)
		return
	}
	defer func() {
		s.mu.Lock()
		delete(s.watchers, watcher)
		s.mu.Unlock()
	}()
	s.watch(w, r, watcher, found, query.Get("sendInitialEvents") == "true")
}

// matching returns copies of the objects that the watcher wants, the oldest version first. The caller holds the lock.
func (s *Server) matching(w *watcher) []runtime.Object {
	var found []runtime.Object
	for key, o := range s.objects {
		parts := strings.SplitN(key, "/", 3)
		if w.wants(target{resource: parts[0], namespace: parts[1], name: parts[2]}, o.value) {
			found = append(found, s.typed(o.value))
		}
	}
	sort.Slice(found, func(i, j int) bool {
		a, _ := meta.Accessor(found[i])
		b, _ := meta.Accessor(found[j])
		return number(a.GetResourceVersion()) < number(b.GetResourceVersion())
	})
	return found
}

func (s *Server) writeList(w http.ResponseWriter, found []runtime.Object, version uint64) {
	api, kind := "v1", "List"
	if found == nil {
		found = []runtime.Object{}
	} else {
		api, kind = found[0].GetObjectKind().GroupVersionKind().ToAPIVersionAndKind()
		kind += "List"
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{ // the client's connection may be gone
		"kind": kind, "apiVersion": api, "metadata": map[string]any{"resourceVersion": text(version)}, "items": found})
}

func (s *Server) watch(w http.ResponseWriter, r *http.Request, watcher *watcher, found []runtime.Object, initial bool) {
	w.Header().Set("Content-Type", "application/json")
	encoder, control := json.NewEncoder(w), http.NewResponseController(w)
	// Objects that changed after the version that the client has are told as well, so that nothing falls between its list and its watch.
	since := number(r.URL.Query().Get("resourceVersion"))
	for _, value := range found {
		accessor, err := meta.Accessor(value)
		if err != nil || !initial && number(accessor.GetResourceVersion()) <= since {
			continue
		}
		_ = encoder.Encode(event{string(watch.Added), value})
	}
	if initial {
		s.mu.Lock()
		mark := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{ResourceVersion: text(s.version),
			Annotations: map[string]string{metav1.InitialEventsAnnotationKey: "true"}}}
		s.mu.Unlock()
		value := map[string]any{"type": "BOOKMARK", "object": s.bookmark(watcher.target.resource, mark)}
		_ = encoder.Encode(value)
	}
	_ = control.Flush()
	for {
		select {
		case <-r.Context().Done():
			return
		case e := <-watcher.events:
			if encoder.Encode(e) != nil || control.Flush() != nil {
				return
			}
		}
	}
}

// bookmark is an empty object of the watched kind.
func (s *Server) bookmark(resource string, mark *corev1.Pod) runtime.Object {
	switch resource {
	case "services":
		return s.typed(&corev1.Service{ObjectMeta: mark.ObjectMeta})
	case "nodes":
		return s.typed(&corev1.Node{ObjectMeta: mark.ObjectMeta})
	case "namespaces":
		return s.typed(&corev1.Namespace{ObjectMeta: mark.ObjectMeta})
	case "endpointslices":
		return s.typed(&discoveryv1.EndpointSlice{ObjectMeta: mark.ObjectMeta})
	case "servicecidrs":
		return s.typed(&networkingv1.ServiceCIDR{ObjectMeta: mark.ObjectMeta})
	}
	return s.typed(mark)
}
