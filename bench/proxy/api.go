// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// api is an API server with lists in memory, the same for every proxy, so that only the proxy is measured.
type api struct {
	mu       sync.Mutex
	version  int
	services []corev1.Service
	slices   []discoveryv1.EndpointSlice
	watchers map[chan any]bool // of slices
}

const (
	nodeName = "bench"
	nodeIP   = "172.18.0.2"
)

// newAPI makes services s0, s1, … of one port with so many endpoints each. The endpoints of s0 are first.
func newAPI(services, endpoints int, first string) *api {
	a := &api{version: 1, watchers: map[chan any]bool{}}
	for i := range services {
		name := fmt.Sprint("s", i)
		meta := metav1.ObjectMeta{Namespace: "default", Name: name, UID: "1", ResourceVersion: "1"}
		vip := vipOf(i)
		a.services = append(a.services, corev1.Service{ObjectMeta: meta, Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeClusterIP, ClusterIP: vip, ClusterIPs: []string{vip}, IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol},
			SessionAffinity: corev1.ServiceAffinityNone, Ports: []corev1.ServicePort{{Name: "http", Protocol: corev1.ProtocolTCP, Port: 80}},
		}})
		meta.Labels = map[string]string{discoveryv1.LabelServiceName: name}
		port, protocol, portName := int32(8080), corev1.ProtocolTCP, "http"
		slice := discoveryv1.EndpointSlice{
			ObjectMeta: meta, AddressType: discoveryv1.AddressTypeIPv4,
			Ports: []discoveryv1.EndpointPort{{Name: &portName, Protocol: &protocol, Port: &port}},
		}
		for e := range endpoints {
			n := i*endpoints + e
			address := fmt.Sprintf("10.%d.%d.%d", 128+n/(250*256), n/250%256, n%250+1)
			if i == 0 && first != "" {
				address = first
			}
			slice.Endpoints = append(slice.Endpoints, endpoint(address))
		}
		a.slices = append(a.slices, slice)
	}
	return a
}

func vipOf(service int) string { return fmt.Sprintf("10.96.%d.%d", service/250, service%250+1) }

func endpoint(address string) discoveryv1.Endpoint {
	ready, node := true, "other"
	return discoveryv1.Endpoint{Addresses: []string{address}, NodeName: &node,
		Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &ready}}
}

// change adds or removes an endpoint of one service and tells whoever watches.
func (a *api) change(service int, add bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.version++
	slice := a.slices[service].DeepCopy()
	slice.TypeMeta = metav1.TypeMeta{Kind: "EndpointSlice", APIVersion: "discovery.k8s.io/v1"} // an event names it
	slice.ResourceVersion = fmt.Sprint(a.version)
	if add {
		slice.Endpoints = append(slice.Endpoints, endpoint("10.255.255.1"))
	} else {
		slice.Endpoints = slice.Endpoints[:len(slice.Endpoints)-1]
	}
	a.slices[service] = *slice
	for w := range a.watchers {
		w <- map[string]any{"type": "MODIFIED", "object": slice}
	}
}

func (a *api) serve() (string, func(), error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	server := &http.Server{Handler: a}
	go server.Serve(listener)
	return "http://" + listener.Addr().String(), func() { server.Close() }, nil
}

// ServeHTTP answers lists and watches; a list that is to come as events is refused, as an older server does.
func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	resource, query := parts[len(parts)-1], r.URL.Query()
	if resource == nodeName {
		json.NewEncoder(w).Encode(node())
		return
	}
	switch {
	case r.Method != http.MethodGet:
		w.WriteHeader(http.StatusCreated)
		w.Write([]byte("{}"))
	case query.Get("sendInitialEvents") != "":
		w.WriteHeader(http.StatusUnprocessableEntity)
		json.NewEncoder(w).Encode(metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"},
			Status: "Failure", Reason: metav1.StatusReasonInvalid, Code: http.StatusUnprocessableEntity})
	case query.Get("watch") != "":
		a.watch(w, r, resource)
	default:
		a.list(w, resource)
	}
}

func (a *api) list(w http.ResponseWriter, resource string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	meta := metav1.ListMeta{ResourceVersion: fmt.Sprint(a.version)}
	var out any
	switch resource {
	case "services":
		out = corev1.ServiceList{TypeMeta: metav1.TypeMeta{Kind: "ServiceList", APIVersion: "v1"}, ListMeta: meta, Items: a.services}
	case "endpointslices":
		out = discoveryv1.EndpointSliceList{TypeMeta: metav1.TypeMeta{Kind: "EndpointSliceList", APIVersion: "discovery.k8s.io/v1"}, ListMeta: meta, Items: a.slices}
	case "nodes":
		out = corev1.NodeList{TypeMeta: metav1.TypeMeta{Kind: "NodeList", APIVersion: "v1"}, ListMeta: meta, Items: []corev1.Node{*node()}}
	default:
		out = map[string]any{"kind": "ServiceCIDRList", "apiVersion": "networking.k8s.io/v1", "metadata": meta,
			"items": []any{map[string]any{"metadata": map[string]any{"name": "kubernetes"}, "spec": map[string]any{"cidrs": []string{"10.96.0.0/12"}}}}}
	}
	json.NewEncoder(w).Encode(out)
}

func (a *api) watch(w http.ResponseWriter, r *http.Request, resource string) {
	w.(http.Flusher).Flush()
	events := make(chan any, 1024)
	if resource == "endpointslices" {
		a.mu.Lock()
		a.watchers[events] = true
		a.mu.Unlock()
		defer func() {
			a.mu.Lock()
			delete(a.watchers, events)
			a.mu.Unlock()
		}()
	}
	encoder := json.NewEncoder(w)
	for {
		select {
		case <-r.Context().Done():
			return
		case event := <-events:
			encoder.Encode(event)
			w.(http.Flusher).Flush()
		}
	}
}

func node() *corev1.Node {
	return &corev1.Node{TypeMeta: metav1.TypeMeta{Kind: "Node", APIVersion: "v1"},
		ObjectMeta: metav1.ObjectMeta{Name: nodeName, UID: "1", ResourceVersion: "1", Labels: map[string]string{corev1.LabelTopologyZone: "z1"}},
		Spec:       corev1.NodeSpec{PodCIDR: "10.244.0.0/24", PodCIDRs: []string{"10.244.0.0/24"}},
		Status:     corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: nodeIP}}}}
}
