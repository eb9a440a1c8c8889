// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/streaming"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/scheme"
	restwatch "k8s.io/client-go/rest/watch"
)

// api is an API server with lists in memory, the same for every proxy, so that only the proxy is measured.
type api struct {
	mu       sync.Mutex
	version  int
	services []corev1.Service
	slices   []discoveryv1.EndpointSlice
	watchers map[chan *watch.Event]bool // of slices
}

const (
	nodeName = "bench"
	nodeIP   = "172.18.0.2"
)

// newAPI makes services s0, s1, … of one port with so many endpoints each. The endpoints of s0 are first.
func newAPI(services, endpoints int, first string) *api {
	a := &api{version: 1, watchers: map[chan *watch.Event]bool{}}
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
	a.update(service, func(slice *discoveryv1.EndpointSlice) {
		if add {
			slice.Endpoints = append(slice.Endpoints, endpoint("10.255.255.1"))
		} else {
			slice.Endpoints = slice.Endpoints[:len(slice.Endpoints)-1]
		}
	})
}

// replace gives one endpoint of a service another address and tells whoever watches.
func (a *api) replace(service, number int, address string) {
	a.update(service, func(slice *discoveryv1.EndpointSlice) { slice.Endpoints[number] = endpoint(address) })
}

func (a *api) update(service int, change func(*discoveryv1.EndpointSlice)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.version++
	slice := a.slices[service].DeepCopy()
	slice.ResourceVersion = fmt.Sprint(a.version)
	change(slice)
	a.slices[service] = *slice
	for w := range a.watchers {
		w <- &watch.Event{Type: watch.Modified, Object: slice}
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

// ServeHTTP answers lists and watches, in protobuf to who can read it; a list that is to come as events is refused, as an
// older server does.
func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	resource, query, c := parts[len(parts)-1], r.URL.Query(), codecFor(r, parts)
	w.Header().Set("Content-Type", c.info.MediaType)
	switch {
	case resource == nodeName:
		c.write(w, node())
	case r.Method != http.MethodGet:
		w.Header().Set("Content-Type", runtime.ContentTypeJSON)
		w.WriteHeader(http.StatusCreated)
		w.Write([]byte("{}"))
	case query.Get("sendInitialEvents") != "":
		w.WriteHeader(http.StatusUnprocessableEntity)
		c.write(w, &metav1.Status{Status: "Failure", Reason: metav1.StatusReasonInvalid, Code: http.StatusUnprocessableEntity})
	case query.Get("watch") != "":
		w.Header().Set("Content-Type", c.info.MediaType+";stream=watch")
		a.watch(w, r, resource, c)
	default:
		a.mu.Lock()
		defer a.mu.Unlock()
		c.write(w, a.list(resource))
	}
}

func (a *api) list(resource string) runtime.Object {
	meta := metav1.ListMeta{ResourceVersion: fmt.Sprint(a.version)}
	switch resource {
	case "services":
		return &corev1.ServiceList{ListMeta: meta, Items: a.services}
	case "endpointslices":
		return &discoveryv1.EndpointSliceList{ListMeta: meta, Items: a.slices}
	case "nodes":
		return &corev1.NodeList{ListMeta: meta, Items: []corev1.Node{*node()}}
	}
	return &networkingv1.ServiceCIDRList{ListMeta: meta, Items: []networkingv1.ServiceCIDR{{
		ObjectMeta: metav1.ObjectMeta{Name: "kubernetes"}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{"10.96.0.0/12"}},
	}}}
}

func (a *api) watch(w http.ResponseWriter, r *http.Request, resource string, c codec) {
	w.(http.Flusher).Flush()
	events := make(chan *watch.Event, 1024)
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
	stream := c.info.StreamSerializer
	encoder := restwatch.NewEncoder(streaming.NewEncoder(stream.Framer.NewFrameWriter(w), c.of(stream.Serializer)), c.of(c.info.Serializer))
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

// codec writes objects of one version of an API group in what the client reads.
type codec struct {
	info    runtime.SerializerInfo
	version schema.GroupVersion
}

func codecFor(r *http.Request, path []string) codec {
	kind := runtime.ContentTypeJSON
	if strings.Contains(r.Header.Get("Accept"), runtime.ContentTypeProtobuf) {
		kind = runtime.ContentTypeProtobuf
	}
	c := codec{version: corev1.SchemeGroupVersion}
	c.info, _ = runtime.SerializerInfoForMediaType(scheme.Codecs.SupportedMediaTypes(), kind)
	if len(path) > 2 && path[0] == "apis" {
		c.version = schema.GroupVersion{Group: path[1], Version: path[2]}
	}
	return c
}

func (c codec) of(serializer runtime.Encoder) runtime.Encoder {
	return scheme.Codecs.EncoderForVersion(serializer, c.version)
}

func (c codec) write(w io.Writer, object runtime.Object) { c.of(c.info.Serializer).Encode(object, w) }

func node() *corev1.Node {
	return &corev1.Node{TypeMeta: metav1.TypeMeta{Kind: "Node", APIVersion: "v1"},
		ObjectMeta: metav1.ObjectMeta{Name: nodeName, UID: "1", ResourceVersion: "1", Labels: map[string]string{corev1.LabelTopologyZone: "z1"}},
		Spec:       corev1.NodeSpec{PodCIDR: "10.244.0.0/24", PodCIDRs: []string{"10.244.0.0/24"}},
		Status:     corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: nodeIP}}}}
}
