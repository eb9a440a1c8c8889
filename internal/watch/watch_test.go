// SPDX-License-Identifier: Apache-2.0

package watch

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"eastwest/internal/client"
	"eastwest/internal/snapshot"
	"eastwest/internal/table"
)

// api is an API server with lists in memory that sends what a test pushes to watchers.
type api struct {
	mu     sync.Mutex
	lists  map[string]any
	events map[string]chan any
	fail   map[string]int // so many requests of a resource are refused first
}

func newAPI(t *testing.T) (*api, *client.Client) {
	t.Helper()
	a := &api{lists: map[string]any{}, events: map[string]chan any{}, fail: map[string]int{}}
	for _, resource := range []string{"services", "nodes", "endpointslices"} {
		a.events[resource] = make(chan any)
	}
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	c, err := client.New(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	return a, c
}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	resource := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
	a.mu.Lock()
	list, failing := a.lists[resource], a.fail[resource] > 0
	a.fail[resource]--
	a.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	switch {
	case failing:
		http.Error(w, "not now", http.StatusInternalServerError)
	case r.URL.Query().Get("sendInitialEvents") != "":
		w.WriteHeader(http.StatusUnprocessableEntity)
		_ = json.NewEncoder(w).Encode(metav1.Status{
			TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: "Failure", Reason: metav1.StatusReasonInvalid, Code: 422,
		})
	case r.URL.Query().Get("watch") == "":
		_ = json.NewEncoder(w).Encode(list)
	default:
		w.(http.Flusher).Flush()
		for {
			select {
			case <-r.Context().Done():
				return
			case event := <-a.events[resource]:
				_ = json.NewEncoder(w).Encode(event)
				w.(http.Flusher).Flush()
			}
		}
	}
}

func (a *api) push(t *testing.T, resource, kind string, object any) {
	t.Helper()
	select {
	case a.events[resource] <- map[string]any{"type": kind, "object": object}:
	case <-time.After(30 * time.Second):
		t.Fatalf("nobody watches %s", resource)
	}
}

var (
	nginx = corev1.Service{
		TypeMeta:   metav1.TypeMeta{Kind: "Service", APIVersion: "v1"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "nginx", ResourceVersion: "2"},
		Spec: corev1.ServiceSpec{
			ClusterIP: "10.96.0.7", ClusterIPs: []string{"10.96.0.7"}, IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol},
			Ports: []corev1.ServicePort{{Protocol: corev1.ProtocolTCP, Port: 30050, NodePort: 31000}},
		},
	}
	node = corev1.Node{
		TypeMeta:   metav1.TypeMeta{Kind: "Node", APIVersion: "v1"},
		ObjectMeta: metav1.ObjectMeta{Name: "one", ResourceVersion: "3"},
		Spec:       corev1.NodeSpec{PodCIDR: "10.244.0.0/24"},
		Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{
			{Type: corev1.NodeHostName, Address: "one"}, {Type: corev1.NodeInternalIP, Address: "172.18.0.2"}}},
	}
)

func slice() discoveryv1.EndpointSlice {
	name, port, ready, host := "", int32(80), true, "one"
	return discoveryv1.EndpointSlice{
		TypeMeta: metav1.TypeMeta{Kind: "EndpointSlice", APIVersion: "discovery.k8s.io/v1"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: "nginx-x", ResourceVersion: "4", Labels: map[string]string{discoveryv1.LabelServiceName: "nginx"},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: &name, Port: &port}},
		Endpoints: []discoveryv1.Endpoint{{
			Addresses: []string{"10.244.0.2"}, NodeName: &host, Conditions: discoveryv1.EndpointConditions{Ready: &ready},
		}},
	}
}

func start(t *testing.T, c *client.Client) (*snapshot.Store, *Watcher) {
	t.Helper()
	store := snapshot.NewStore()
	w, err := New(Config{Client: c, Store: store, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = w.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return store, w
}

// Lists and events arrive trimmed, failed lists are tried again, and Synced waits for every list.
func TestWatchFillsTheStore(t *testing.T) {
	a, c := newAPI(t)
	meta := metav1.ListMeta{ResourceVersion: "10"}
	a.lists["services"] = corev1.ServiceList{TypeMeta: metav1.TypeMeta{Kind: "ServiceList", APIVersion: "v1"}, ListMeta: meta, Items: []corev1.Service{nginx}}
	a.lists["nodes"] = corev1.NodeList{TypeMeta: metav1.TypeMeta{Kind: "NodeList", APIVersion: "v1"}, ListMeta: meta, Items: []corev1.Node{node}}
	a.lists["endpointslices"] = discoveryv1.EndpointSliceList{TypeMeta: metav1.TypeMeta{Kind: "EndpointSliceList", APIVersion: "discovery.k8s.io/v1"}, ListMeta: meta, Items: []discoveryv1.EndpointSlice{slice()}}
	a.fail["nodes"] = 2
	store, w := start(t, c)
	select {
	case <-w.Synced():
	case <-time.After(30 * time.Second):
		t.Fatal("the watches did not get their first lists")
	}
	now, _ := store.Take()
	service, _ := now.Services.Get("default/nginx")
	want := &snapshot.Service{
		Namespace: "default", Name: "nginx", ClusterIPs: []netip.Addr{netip.MustParseAddr("10.96.0.7")}, IPv4: true,
		Ports: []snapshot.Port{{Protocol: table.TCP, Port: 30050, NodePort: 31000}},
	}
	if diff := cmp.Diff(want, service, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("service (-want +have):\n%s", diff)
	}
	if n, _ := now.Nodes.Get("one"); n == nil || len(n.Addrs) != 1 || n.PodCIDRs[0] != netip.MustParsePrefix("10.244.0.0/24") {
		t.Errorf("node = %+v", n)
	}
	if list, _ := now.Slices.Get("default/nginx"); len(list) != 1 || !list[0].Endpoints[0].Ready || list[0].Ports[0].Port != 80 {
		t.Errorf("slices = %+v", list)
	}
	gone := slice()
	gone.ResourceVersion = "11"
	a.push(t, "endpointslices", "DELETED", gone)
	<-store.Changed()
	now, changes := store.Take()
	for len(changes.Services) == 0 { // the first signal may be left from the lists
		<-store.Changed()
		now, changes = store.Take()
	}
	if now.Slices.Len() != 0 || !cmp.Equal(changes.Services, []string{"default/nginx"}) {
		t.Errorf("after deleting the slice: %d slices, changes %+v", now.Slices.Len(), changes)
	}
}

// A new full list takes away what it does not name.
func TestReplaceDeletesWhatIsGone(t *testing.T) {
	store := snapshot.NewStore()
	m := services(store)
	other := nginx
	other.Name = "other"
	if err := m.Replace([]any{&nginx, &other}, ""); err != nil {
		t.Fatal(err)
	}
	if err := m.Replace([]any{&other}, ""); err != nil {
		t.Fatal(err)
	}
	now, _ := store.Take()
	if diff := cmp.Diff([]string{"default/other"}, now.Services.Keys()); diff != "" {
		t.Error(diff)
	}
}
