// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"context"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"eastwest/internal/kubelet/events"
	"eastwest/internal/kubelet/podstate"
)

// Kinds of probes, as messages name them.
const (
	Startup   = "startup"
	Readiness = "readiness"
	Liveness  = "liveness"
)

// Manager probes the running containers of all pods. Safe for concurrent use.
type Manager struct {
	ctx     context.Context
	exec    Exec
	events  *events.Recorder
	changed func(uid string)
	mu      sync.Mutex
	watched map[string]*watched // by container id
}

// watched is one running container and what its probes found.
type watched struct {
	uid      types.UID
	name     string
	started  bool
	ready    bool
	failed   string // the probe that says it must end
	live     context.CancelFunc
	all      context.CancelFunc
	startup  chan struct{} // closed when started
	previous bool
}

// New makes a manager whose probes end with ctx. changed is called with a pod's UID when an answer changed.
func New(ctx context.Context, exec Exec, recorder *events.Recorder, changed func(uid string)) *Manager {
	return &Manager{ctx: ctx, exec: exec, events: recorder, changed: changed, watched: map[string]*watched{}}
}

// Sync begins to probe the pod's containers that run, and stops probing those that do not. ip is where the pod is reached.
func (m *Manager) Sync(pod *corev1.Pod, state *podstate.State, ip string) {
	running := map[string]bool{}
	for i := range state.Containers {
		c := &state.Containers[i]
		if spec := podstate.FindSpec(pod, c.Name); c.Running() && spec != nil {
			running[c.ID] = true
			m.begin(pod, spec, c.ID, ip)
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, w := range m.watched {
		if w.uid == pod.UID && !running[id] {
			w.all()
			delete(m.watched, id)
		}
	}
}

func (m *Manager) begin(pod *corev1.Pod, spec *corev1.Container, id, ip string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.watched[id] != nil {
		return
	}
	all, cancelAll := context.WithCancel(m.ctx)
	live, cancelLive := context.WithCancel(all)
	w := &watched{uid: pod.UID, name: spec.Name, started: spec.StartupProbe == nil, ready: spec.ReadinessProbe == nil,
		live: cancelLive, all: cancelAll, startup: make(chan struct{})}
	m.watched[id] = w
	w.adopt(pod, id)
	if w.started {
		close(w.startup)
	}
	target := Target{ContainerID: id, Spec: spec, IP: ip, Exec: m.exec}
	if spec.StartupProbe != nil && !w.started {
		go m.newWorker(pod, w, target, Startup, spec.StartupProbe).run(live)
	}
	if spec.ReadinessProbe != nil {
		go m.newWorker(pod, w, target, Readiness, spec.ReadinessProbe).run(all)
	}
	if spec.LivenessProbe != nil {
		go m.newWorker(pod, w, target, Liveness, spec.LivenessProbe).run(live)
	}
}

// adopt takes over what an earlier kubelet reported of the same container, so that a restart of the kubelet makes no pod unready.
func (w *watched) adopt(pod *corev1.Pod, id string) {
	for _, list := range [][]corev1.ContainerStatus{pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses} {
		for i := range list {
			if s := &list[i]; s.Name == w.name && s.State.Running != nil && len(s.ContainerID) > len(id) &&
				s.ContainerID[len(s.ContainerID)-len(id):] == id {
				w.started = w.started || s.Started != nil && *s.Started
				w.ready = w.ready || s.Ready
				w.previous = true
			}
		}
	}
}

// EndLiveness stops what could end the pod's containers, for a pod that is being ended anyway.
func (m *Manager) EndLiveness(uid types.UID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, w := range m.watched {
		if w.uid == uid {
			w.live()
		}
	}
}

// Forget stops all probes of a pod.
func (m *Manager) Forget(uid types.UID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, w := range m.watched {
		if w.uid == uid {
			w.all()
			delete(m.watched, id)
		}
	}
}

// Started says whether the container passed its startup probe, or has none.
func (m *Manager) Started(id string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	w := m.watched[id]
	return w != nil && w.started
}

// Ready says whether the container passes its readiness probe, or has none.
func (m *Manager) Ready(id string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	w := m.watched[id]
	return w != nil && w.ready
}

// Failed returns the probe that says that the container must be ended, or nothing.
func (m *Manager) Failed(id string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if w := m.watched[id]; w != nil {
		return w.failed
	}
	return ""
}
