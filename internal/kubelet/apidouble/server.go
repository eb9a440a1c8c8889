// SPDX-License-Identifier: Apache-2.0

// Package apidouble is a small API server in memory for tests of the kubelet: the kinds that a node uses, with lists, watches, patches, graceful
// deletion of pods and tokens, and without validation, admission or authorization.
package apidouble

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"eastwest/internal/client"
)

// Server is the API. Safe for concurrent use.
type Server struct {
	Client *client.Client // speaks to this server
	http   *httptest.Server
	codecs serializer.CodecFactory

	mu       sync.Mutex
	version  uint64
	objects  map[string]object // by resource/namespace/name
	watchers map[*watcher]bool
	tokens   int
	before   func(call string) error
	after    func(call string) error
}

type object struct {
	path  string
	value runtime.Object
}

// New starts a server; Close stops it.
func New() (*Server, error) {
	s := &Server{objects: map[string]object{}, watchers: map[*watcher]bool{}}
	s.http = httptest.NewServer(s)
	var err error
	if s.Client, err = client.New(&rest.Config{Host: s.http.URL, QPS: -1}); err != nil {
		s.http.Close()
		return nil, err
	}
	s.codecs = serializer.NewCodecFactory(s.Client.Scheme())
	return s, nil
}

// Close ends all watches and the server.
func (s *Server) Close() {
	s.http.CloseClientConnections()
	s.http.Close()
}

// target is what a request's path names.
type target struct {
	gv                             schema.GroupVersion
	namespace, resource, name, sub string
}

func parse(path string) (target, bool) {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	var t target
	switch {
	case len(parts) >= 3 && parts[0] == "api":
		t.gv.Version, parts = parts[1], parts[2:]
	case len(parts) >= 4 && parts[0] == "apis":
		t.gv.Group, t.gv.Version, parts = parts[1], parts[2], parts[3:]
	default:
		return t, false
	}
	if parts[0] == "namespaces" && len(parts) > 2 {
		t.namespace, parts = parts[1], parts[2:]
	}
	for i, field := range []*string{&t.resource, &t.name, &t.sub} {
		if i < len(parts) {
			*field = parts[i]
		}
	}
	return t, true
}

func (t target) key() string { return t.resource + "/" + t.namespace + "/" + t.name }

// ServeHTTP answers API requests.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	t, ok := parse(r.URL.Path)
	if !ok {
		http.NotFound(w, r)
		return
	}
	if r.Method == http.MethodGet && t.name == "" {
		s.list(w, r, t)
		return
	}
	before, after := s.hooks()
	call := strings.TrimSuffix(r.Method+" "+t.resource+"/"+t.name+"/"+t.sub, "/")
	err := before(call)
	var value runtime.Object
	if err == nil {
		value, err = s.one(r, t)
		_ = after(call) // too late to fail
	}
	if err != nil {
		s.fail(w, err)
		return
	}
	s.write(w, value)
}

// SetHooks sets what is called before and after every request but lists and watches, by what it is: "PATCH pods/NAME/status". An error of
// before fails the request.
func (s *Server) SetHooks(before, after func(call string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before, s.after = before, after
}

func (s *Server) hooks() (before, after func(call string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if before, after = s.before, s.after; before == nil {
		nothing := func(string) error { return nil }
		return nothing, nothing
	}
	return before, after
}

func (s *Server) one(r *http.Request, t target) (runtime.Object, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch r.Method {
	case http.MethodGet:
		return s.get(t)
	case http.MethodPost:
		return s.post(t, body)
	case http.MethodPut:
		return s.put(t, body)
	case http.MethodPatch:
		return s.patch(t, types.PatchType(r.Header.Get("Content-Type")), body)
	case http.MethodDelete:
		return s.delete(t, body)
	}
	return nil, apierrors.NewMethodNotSupported(schema.GroupResource{Resource: t.resource}, r.Method)
}

func (s *Server) get(t target) (runtime.Object, error) {
	o, ok := s.objects[t.key()]
	if !ok {
		return nil, apierrors.NewNotFound(schema.GroupResource{Group: t.gv.Group, Resource: t.resource}, t.name)
	}
	return o.value, nil
}

func (s *Server) decode(body []byte) (runtime.Object, error) {
	value, _, err := s.codecs.UniversalDeserializer().Decode(body, nil, nil)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	return value, nil
}

func (s *Server) post(t target, body []byte) (runtime.Object, error) {
	value, err := s.decode(body)
	if err != nil {
		return nil, err
	}
	switch v := value.(type) {
	case *authenticationv1.TokenRequest:
		s.tokens++
		v.Status = authenticationv1.TokenRequestStatus{Token: fmt.Sprintf("token-%d", s.tokens),
			ExpirationTimestamp: metav1.NewTime(time.Now().Add(time.Duration(*v.Spec.ExpirationSeconds) * time.Second))}
		return v, nil
	case *authorizationv1.SubjectAccessReview:
		v.Status.Allowed = !strings.HasPrefix(v.Spec.User, "stranger")
		return v, nil
	}
	accessor, err := meta.Accessor(value)
	if err != nil {
		return nil, err
	}
	t.name = accessor.GetName()
	if _, there := s.objects[t.key()]; there {
		return nil, apierrors.NewAlreadyExists(schema.GroupResource{Resource: t.resource}, t.name)
	}
	s.store(t, value)
	return value, nil
}

func (s *Server) put(t target, body []byte) (runtime.Object, error) {
	if _, err := s.get(t); err != nil {
		return nil, err
	}
	value, err := s.decode(body)
	if err == nil {
		s.store(t, value)
	}
	return value, err
}

func (s *Server) delete(t target, body []byte) (runtime.Object, error) {
	value, err := s.get(t)
	if err != nil {
		return nil, err
	}
	options := &metav1.DeleteOptions{}
	if len(body) > 0 {
		decoded, err := s.decode(body)
		if err != nil {
			return nil, err
		}
		options = decoded.(*metav1.DeleteOptions)
	}
	accessor, err := meta.Accessor(value)
	if err != nil {
		return nil, err
	}
	if p := options.Preconditions; p != nil && p.UID != nil && *p.UID != accessor.GetUID() {
		return nil, apierrors.NewConflict(schema.GroupResource{Resource: t.resource}, t.name, fmt.Errorf("another UID"))
	}
	if pod, ok := value.(*corev1.Pod); ok && (options.GracePeriodSeconds == nil || *options.GracePeriodSeconds > 0) {
		return s.deleteGracefully(t, pod, options), nil
	}
	s.remove(t)
	return &metav1.Status{Status: metav1.StatusSuccess}, nil
}

func (s *Server) deleteGracefully(t target, pod *corev1.Pod, options *metav1.DeleteOptions) runtime.Object {
	pod = pod.DeepCopy()
	grace := int64(30)
	if pod.Spec.TerminationGracePeriodSeconds != nil {
		grace = *pod.Spec.TerminationGracePeriodSeconds
	}
	if options.GracePeriodSeconds != nil {
		grace = *options.GracePeriodSeconds
	}
	now := metav1.Now()
	pod.DeletionTimestamp, pod.DeletionGracePeriodSeconds = &now, &grace
	s.store(t, pod)
	return pod
}

func (s *Server) write(w http.ResponseWriter, value runtime.Object) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(s.typed(value)) // the client's connection may be gone
}

// typed adds apiVersion and kind to a copy.
func (s *Server) typed(value runtime.Object) runtime.Object {
	value = value.DeepCopyObject()
	if kinds, _, err := s.Client.Scheme().ObjectKinds(value); err == nil {
		value.GetObjectKind().SetGroupVersionKind(kinds[0])
	}
	return value
}

func (s *Server) fail(w http.ResponseWriter, err error) {
	status := apierrors.NewInternalError(err).Status()
	if known, ok := err.(apierrors.APIStatus); ok {
		status = known.Status()
	}
	status.Kind, status.APIVersion = "Status", "v1"
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(int(status.Code))
	_ = json.NewEncoder(w).Encode(status) // the client's connection may be gone
}

func (s *Server) next() string {
	s.version++
	return strconv.FormatUint(s.version, 10)
}
