// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"eastwest/internal/client"
	"eastwest/internal/snapshot"
)

// lossy is an API server that remembers what happened to services, and whose watches may lose events. Other resources are
// empty.
type lossy struct {
	mu      sync.Mutex
	version int
	now     map[string]corev1.Service
	log     []happened
	oldest  int // version before which nothing is remembered
	lose    bool
	streams map[chan happened]bool
}

type happened struct {
	Type   string         `json:"type"`
	Object corev1.Service `json:"object"`

	version int
}

func startLossy(t *testing.T) (*lossy, *snapshot.Store, *Watcher) {
	t.Helper()
	s := &lossy{version: 10, now: map[string]corev1.Service{}, streams: map[chan happened]bool{}}
	server := httptest.NewServer(s)
	c, err := client.New(&rest.Config{Host: server.URL, QPS: -1})
	if err != nil {
		t.Fatal(err)
	}
	store := snapshot.NewStore()
	w, err := New(Config{Client: c, Store: store, MendEvery: 20 * time.Millisecond, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	s.happen("ADDED", "one")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = w.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done; server.Close() })
	<-w.Synced()
	await(t, "the watch", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return len(s.streams) > 0 })
	return s, store, w
}

func await(t *testing.T, what string, is func() bool) {
	t.Helper()
	for range 3000 {
		if is() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("%s did not come to pass", what)
}

// happen changes a service. With lose set the watch is not told.
func (s *lossy) happen(kind, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	version := strconv.Itoa(s.version)
	o := corev1.Service{TypeMeta: metav1.TypeMeta{Kind: "Service", APIVersion: "v1"}, ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, ResourceVersion: version}}
	o.Spec.ClusterIP, o.Spec.ClusterIPs = "10.96.0."+version, []string{"10.96.0." + version}
	if s.now[name] = o; kind == "DELETED" {
		delete(s.now, name)
	}
	event := happened{kind, o, s.version}
	s.log = append(s.log, event)
	for stream := range s.streams {
		if !s.lose {
			stream <- event
		}
	}
}

func (s *lossy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	query := r.URL.Query()
	services := strings.HasSuffix(r.URL.Path, "/services")
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case query.Get("sendInitialEvents") != "":
		w.WriteHeader(http.StatusUnprocessableEntity)
	case query.Get("watch") == "":
		items := []corev1.Service{}
		if services {
			items = slices.Collect(maps.Values(s.now))
		}
		kind := map[string]string{"services": "Service", "nodes": "Node", "endpointslices": "EndpointSlice"}[r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]]
		version := map[string]string{"EndpointSlice": "discovery.k8s.io/v1"}[kind]
		if version == "" {
			version = "v1"
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"kind": kind + "List", "apiVersion": version, "items": items,
			"metadata": map[string]any{"resourceVersion": strconv.Itoa(s.version)}})
	default:
		seconds, _ := strconv.Atoi(query.Get("timeoutSeconds"))
		since, _ := strconv.Atoi(query.Get("resourceVersion"))
		s.watch(w, r, services, since, seconds > 60)
	}
}

// watch streams, in the long watch of a reflector; a short one is told what happened, and a bookmark. The lock is held.
func (s *lossy) watch(w http.ResponseWriter, r *http.Request, services bool, since int, long bool) {
	out := json.NewEncoder(w)
	if since < s.oldest && services {
		w.WriteHeader(http.StatusGone)
		_ = out.Encode(metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: "Failure", Reason: metav1.StatusReasonExpired, Code: 410})
		return
	}
	stream := make(chan happened, 100)
	for _, event := range s.log {
		if services && event.version > since {
			stream <- event
		}
	}
	if !long {
		close(stream)
		for event := range stream {
			_ = out.Encode(event)
		}
		mark := corev1.Service{TypeMeta: metav1.TypeMeta{Kind: "Service", APIVersion: "v1"}, ObjectMeta: metav1.ObjectMeta{ResourceVersion: strconv.Itoa(s.version)}}
		_ = out.Encode(happened{Type: "BOOKMARK", Object: mark})
		return
	}
	if services {
		s.streams[stream] = true
	}
	s.mu.Unlock()
	w.(http.Flusher).Flush()
	for open := true; open; {
		select {
		case <-r.Context().Done():
			open = false
		case event := <-stream:
			_ = out.Encode(event)
			w.(http.Flusher).Flush()
		}
	}
	s.mu.Lock()
	delete(s.streams, stream)
}

func have(store *snapshot.Store) string {
	now, _ := store.Take()
	var all []string
	for _, key := range now.Services.Keys() {
		service, _ := now.Services.Get(key)
		all = append(all, service.Name+"="+service.ClusterIPs[0].String())
	}
	return strings.Join(all, " ")
}

// What a watch loses is taken in all the same: additions, changes and deletions.
func TestLostEventsAreMended(t *testing.T) {
	s, store, w := startLossy(t)
	s.mu.Lock()
	s.lose = true
	s.mu.Unlock()
	for _, c := range []struct{ kind, name, want string }{
		{"ADDED", "two", "one=10.96.0.11 two=10.96.0.12"},
		{"MODIFIED", "one", "one=10.96.0.13 two=10.96.0.12"},
		{"DELETED", "two", "one=10.96.0.13"},
	} {
		s.happen(c.kind, c.name)
		await(t, c.want, func() bool { return have(store) == c.want })
	}
	s.mu.Lock()
	s.lose = false
	s.mu.Unlock()
	s.happen("ADDED", "three") // past what was lost: the watch is known to have missed it
	await(t, "the last event", func() bool { return have(store) == "one=10.96.0.13 three=10.96.0.15" })
	if before := w.Confirmed(); before.IsZero() {
		t.Error("nothing was ever confirmed")
	}
}

// An API server that no longer knows what happened is asked for everything.
func TestForgottenEventsAreMended(t *testing.T) {
	s, store, _ := startLossy(t)
	s.mu.Lock()
	s.lose, s.oldest = true, 1000
	s.mu.Unlock()
	s.happen("ADDED", "two")
	s.happen("DELETED", "one")
	await(t, "what is there now", func() bool { return have(store) == "two=10.96.0.12" })
}

// A second watch tells what was known already; nothing comes back that way.
func TestWhatIsGoneStaysGone(t *testing.T) {
	store := snapshot.NewStore()
	m := services(store)
	service := func(version string) *corev1.Service {
		o := nginx
		o.ResourceVersion = version
		return &o
	}
	if err := m.Replace([]any{service("2")}, "2"); err != nil {
		t.Fatal(err)
	}
	if err := m.Delete(service("5")); err != nil {
		t.Fatal(err)
	}
	for _, version := range []string{"2", "3", "5"} {
		if _, _, news, err := m.mend(service(version), false); news || err != nil {
			t.Errorf("version %s is news, err %v", version, err)
		}
	}
	m.forgetGone()
	if _, _, news, _ := m.mend(service("4"), false); news {
		t.Error("version 4 is news after one round")
	}
	if _, _, news, _ := m.mend(service("6"), false); !news {
		t.Error("the service that was made anew is no news")
	}
}

// What is told again in the same version, by the watch, a second one or a new full list, is no change: whoever counts or applies
// changes hears of it once.
func TestToldTwice(t *testing.T) {
	puts := 0
	m := newMirror(func(s *corev1.Service, _ interned) (string, bool) { return s.Name, true }, func(string) { puts++ }, func(string) {})
	service := func(version string) *corev1.Service {
		return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a", ResourceVersion: version}}
	}
	for i, step := range []struct {
		tell func() error
		puts int
	}{
		{func() error { return m.Replace([]any{service("5")}, "5") }, 1},
		{func() error { return m.Add(service("5")) }, 1},
		{func() error { return m.Replace([]any{service("5")}, "7") }, 1},
		{func() error { _, _, _, err := m.mend(service("8"), false); return err }, 2},
		{func() error { return m.Update(service("8")) }, 2},
		{func() error { return m.Update(service("9")) }, 3},
		{func() error { return m.Replace(nil, "10") }, 3},
		{func() error { return m.Replace([]any{service("9")}, "11") }, 4},
		{func() error { return m.Update(service("opaque")) }, 5},
		{func() error { return m.Update(service("opaque")) }, 6}, // versions that are no numbers do not tell
	} {
		if err := step.tell(); err != nil || puts != step.puts {
			t.Errorf("step %d: %d times put, want %d: %v", i, puts, step.puts, err)
		}
	}
}
