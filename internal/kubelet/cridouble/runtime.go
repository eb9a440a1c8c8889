// SPDX-License-Identifier: Apache-2.0

// Package cridouble is a container runtime in memory for tests: it keeps sandboxes and containers as a CRI server does, lets a test end containers,
// hang or fail calls, and outlives the kubelet under test.
package cridouble

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Runtime is the runtime. Safe for concurrent use.
type Runtime struct {

	// Fail, when set, is asked before every call by its name ("RunPodSandbox"); an error fails the call.
	Fail func(ctx context.Context, call string) error
	// OnExec answers commands; the default is exit code 0.
	OnExec func(container string, command []string) (output string, code int32)
	// OnStart is called, without locks held, when a container of that name has started.
	OnStart func(id, name string)
	// OnStop is called, without locks held, when a container of that pod is to stop within seconds; it has when that returns.
	OnStop func(pod string, seconds int64)

	server     *grpc.Server
	mu         sync.Mutex
	serial     int
	sandboxes  map[string]*sandbox
	containers map[string]*container
	images     map[string]bool
	private    map[string]string // by image that a registry has: the password that it takes
	listeners  map[chan *runtimeapi.ContainerEventResponse]bool
	calls      map[string]int
	network    bool
	after      func(call string)
	grace      int64
}

type sandbox struct {
	id, ip  string
	handler string
	config  *runtimeapi.PodSandboxConfig
	ready   bool
	created int64
}

type container struct {
	id, sandbox       string
	config            *runtimeapi.ContainerConfig
	state             runtimeapi.ContainerState
	created           int64
	started, finished int64
	code              int32
	reason            string
}

// New makes a runtime that has these images and a network that is ready.
func New(images ...string) *Runtime {
	r := &Runtime{sandboxes: map[string]*sandbox{}, containers: map[string]*container{}, images: map[string]bool{},
		listeners: map[chan *runtimeapi.ContainerEventResponse]bool{}, calls: map[string]int{}, network: true, private: map[string]string{}}
	for _, image := range images {
		r.images[image] = true
	}
	return r
}

// Serve answers on a unix socket until Stop.
func (r *Runtime) Serve(socket string) error {
	l, err := net.Listen("unix", socket)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", socket, err)
	}
	r.server = grpc.NewServer(grpc.UnaryInterceptor(r.intercept))
	runtimeapi.RegisterRuntimeServiceServer(r.server, runtimeService{Runtime: r})
	runtimeapi.RegisterImageServiceServer(r.server, imageService{r: r})
	go func() { _ = r.server.Serve(l) }() // ends with Stop
	return nil
}

// Stop ends the server. What the runtime holds stays.
func (r *Runtime) Stop() { r.server.Stop() }

func (r *Runtime) intercept(ctx context.Context, request any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	call := info.FullMethod[len(info.FullMethod)-lastPart(info.FullMethod):]
	r.mu.Lock()
	r.calls[call]++
	fail := r.Fail
	r.mu.Unlock()
	if fail != nil {
		if err := fail(ctx, call); err != nil {
			return nil, err
		}
	}
	answer, err := next(ctx, request)
	r.mu.Lock()
	after := r.after
	r.mu.Unlock()
	if after != nil {
		after(call)
	}
	return answer, err
}

// SetAfter sets what is called after every call, before its answer goes out.
func (r *Runtime) SetAfter(after func(call string)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.after = after
}

func lastPart(method string) int {
	for i := len(method) - 1; i >= 0; i-- {
		if method[i] == '/' {
			return len(method) - 1 - i
		}
	}
	return len(method)
}

// SetFail sets Fail while the runtime serves.
func (r *Runtime) SetFail(fail func(ctx context.Context, call string) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Fail = fail
}

// Calls returns how often the call was made.
func (r *Runtime) Calls(call string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.calls[call]
}

// LastGrace returns how many seconds the container had that was stopped last.
func (r *Runtime) LastGrace() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.grace
}

// AddImage makes an image available from now on.
func (r *Runtime) AddImage(image string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.images[image] = true
}

// AddPrivate has a registry with an image that takes a password; it is not here before it is pulled.
func (r *Runtime) AddPrivate(image, password string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.private[image] = password
}

// SetNetwork says whether the network is ready.
func (r *Runtime) SetNetwork(ready bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.network = ready
}

// Exit ends the newest container of that name in the pod with the code.
func (r *Runtime) Exit(pod, name string, code int32, reason string) error {
	r.mu.Lock()
	var newest *container
	for _, c := range r.containers {
		s := r.sandboxes[c.sandbox]
		if c.config.GetMetadata().GetName() == name && s != nil && s.config.GetMetadata().GetName() == pod &&
			(newest == nil || c.created > newest.created) {
			newest = c
		}
	}
	r.mu.Unlock()
	if newest == nil {
		return fmt.Errorf("pod %s has no container %s", pod, name)
	}
	r.end(newest, code, reason)
	return nil
}

func (r *Runtime) end(c *container, code int32, reason string) {
	r.mu.Lock()
	if c.state == runtimeapi.ContainerState_CONTAINER_EXITED {
		r.mu.Unlock()
		return
	}
	c.state, c.code, c.reason, c.finished = runtimeapi.ContainerState_CONTAINER_EXITED, code, reason, time.Now().UnixNano()
	r.mu.Unlock()
	r.tell(c, runtimeapi.ContainerEventType_CONTAINER_STOPPED_EVENT)
}

// Count returns how many sandboxes and containers there are.
func (r *Runtime) Count() (sandboxes, containers int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.sandboxes), len(r.containers)
}

// Running returns the ids of the running containers of that name.
func (r *Runtime) Running(name string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var ids []string
	for id, c := range r.containers {
		if c.config.GetMetadata().GetName() == name && c.state == runtimeapi.ContainerState_CONTAINER_RUNNING {
			ids = append(ids, id)
		}
	}
	return ids
}

// Config returns what the newest container of that name was made with, or nil.
func (r *Runtime) Config(name string) *runtimeapi.ContainerConfig {
	r.mu.Lock()
	defer r.mu.Unlock()
	var newest *container
	for _, c := range r.containers {
		if c.config.GetMetadata().GetName() == name && (newest == nil || c.created > newest.created) {
			newest = c
		}
	}
	if newest == nil {
		return nil
	}
	return newest.config
}

func (r *Runtime) tell(c *container, kind runtimeapi.ContainerEventType) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.sandboxes[c.sandbox]
	if s == nil {
		return
	}
	event := &runtimeapi.ContainerEventResponse{ContainerId: c.id, ContainerEventType: kind, CreatedAt: time.Now().UnixNano(),
		PodSandboxStatus: &runtimeapi.PodSandboxStatus{Id: s.id, Metadata: s.config.GetMetadata()}}
	for l := range r.listeners {
		select {
		case l <- event:
		default:
		}
	}
}

func notFound(what, id string) error {
	return status.Errorf(codes.NotFound, "%s %q not found", what, id)
}
