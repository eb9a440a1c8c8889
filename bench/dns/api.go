// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"

	"eastwest/internal/client"
)

// listVersion is the resource version of every list; changes have later ones.
const listVersion = 1 << 20

// api serves lists and watches of a generated cluster in protobuf, as an API server does. Everything is encoded before
// the first request, so that what is measured is the client.
type api struct {
	*httptest.Server
	scheme *runtime.Scheme
	codecs serializer.CodecFactory
	served map[string]*resource
}

type resource struct {
	list    []byte // answer to a list
	initial []byte // of a watch that begins with every object

	mu      sync.Mutex
	watches map[chan []byte]bool
	version int
}

// serveAPI serves an API with so many services.
func serveAPI(services, endpoints int) (*api, error) {
	c, err := client.New(&rest.Config{Host: "http://127.0.0.1"})
	if err != nil {
		return nil, err
	}
	a := &api{scheme: c.Scheme(), codecs: serializer.NewCodecFactory(c.Scheme()), served: map[string]*resource{}}
	objects := world(services, endpoints)
	for name, list := range map[string]runtime.Object{
		"services": &corev1.ServiceList{}, "namespaces": &corev1.NamespaceList{}, "nodes": &corev1.NodeList{},
		"endpointslices": &discoveryv1.EndpointSliceList{},
	} {
		if a.served[name], err = a.encode(list, objects[name]); err != nil {
			return nil, err
		}
	}
	a.Server = httptest.NewServer(a)
	return a, nil
}

func (a *api) encode(list runtime.Object, objects []runtime.Object) (*resource, error) {
	r := &resource{watches: map[chan []byte]bool{}, version: listVersion}
	initial := new(bytes.Buffer)
	for _, o := range objects {
		frame, err := a.frame("ADDED", o)
		if err != nil {
			return nil, err
		}
		initial.Write(frame)
	}
	mark := metav1.ObjectMeta{ResourceVersion: strconv.Itoa(listVersion), Annotations: map[string]string{metav1.InitialEventsAnnotationKey: "true"}}
	bookmark := map[string]runtime.Object{
		"*v1.ServiceList": &corev1.Service{ObjectMeta: mark}, "*v1.NamespaceList": &corev1.Namespace{ObjectMeta: mark},
		"*v1.NodeList": &corev1.Node{ObjectMeta: mark}, "*v1.EndpointSliceList": &discoveryv1.EndpointSlice{ObjectMeta: mark},
	}[fmt.Sprintf("%T", list)]
	frame, err := a.frame("BOOKMARK", bookmark)
	if err != nil {
		return nil, err
	}
	initial.Write(frame)
	r.initial = initial.Bytes()
	if err := meta.SetList(list, objects); err != nil {
		return nil, err
	}
	accessor, err := meta.ListAccessor(list)
	if err != nil {
		return nil, err
	}
	accessor.SetResourceVersion(mark.ResourceVersion)
	r.list, err = a.bytes(list)
	return r, err
}

func (a *api) protobuf() runtime.SerializerInfo {
	info, _ := runtime.SerializerInfoForMediaType(a.codecs.SupportedMediaTypes(), runtime.ContentTypeProtobuf)
	return info
}

func (a *api) bytes(o runtime.Object) ([]byte, error) {
	kinds, _, err := a.scheme.ObjectKinds(o)
	if err != nil {
		return nil, err
	}
	return runtime.Encode(a.codecs.EncoderForVersion(a.protobuf().Serializer, kinds[0].GroupVersion()), o)
}

// frame encodes an event of a watch.
func (a *api) frame(kind string, o runtime.Object) ([]byte, error) {
	raw, err := a.bytes(o)
	if err != nil {
		return nil, err
	}
	var event bytes.Buffer
	if err := a.protobuf().StreamSerializer.Serializer.Encode(&metav1.WatchEvent{Type: kind, Object: runtime.RawExtension{Raw: raw}}, &event); err != nil {
		return nil, err
	}
	return append(binary.BigEndian.AppendUint32(nil, uint32(event.Len())), event.Bytes()...), nil
}

// ServeHTTP answers lists and watches.
func (a *api) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	r := a.served[request.URL.Path[strings.LastIndex(request.URL.Path, "/")+1:]]
	if r == nil || request.Method != http.MethodGet {
		http.NotFound(w, request)
		return
	}
	query := request.URL.Query()
	if query.Get("watch") == "" {
		w.Header().Set("Content-Type", runtime.ContentTypeProtobuf)
		_, _ = w.Write(r.list) // the client may have gone
		return
	}
	events := make(chan []byte, 1000)
	r.mu.Lock()
	r.watches[events] = true
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		delete(r.watches, events)
		r.mu.Unlock()
	}()
	w.Header().Set("Content-Type", runtime.ContentTypeProtobuf+";stream=watch")
	if query.Get("sendInitialEvents") == "true" {
		_, _ = w.Write(r.initial)
	}
	w.(http.Flusher).Flush()
	seconds, _ := strconv.Atoi(query.Get("timeoutSeconds"))
	end := time.After(time.Duration(max(seconds, 1)) * time.Second)
	for {
		select {
		case <-request.Context().Done():
			return
		case <-end:
			return
		case event := <-events:
			_, _ = w.Write(event)
			w.(http.Flusher).Flush()
		}
	}
}

// change tells watchers about a changed object.
func (a *api) change(name string, o runtime.Object) error {
	r := a.served[name]
	r.mu.Lock()
	defer r.mu.Unlock()
	r.version++
	accessor, err := meta.Accessor(o)
	if err != nil {
		return err
	}
	accessor.SetResourceVersion(strconv.Itoa(r.version))
	frame, err := a.frame("MODIFIED", o)
	if err != nil {
		return err
	}
	for events := range r.watches {
		events <- frame
	}
	return nil
}
