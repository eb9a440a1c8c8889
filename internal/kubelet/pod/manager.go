// SPDX-License-Identifier: Apache-2.0

package pod

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/flowcontrol"

	"eastwest/internal/kubelet/podstate"
)

// Back-off between starts of a container that keeps ending; forgotten after it ran for twice the longest.
const (
	firstCrashBackOff = 10 * time.Second
	lastCrashBackOff  = 300 * time.Second
)

// Manager has one worker for each pod of the node. Safe for concurrent use.
type Manager struct {
	ctx      context.Context
	config   Config
	backOff  *flowcontrol.Backoff
	turns    turns
	arrivals *arrivals
	group    sync.WaitGroup
	// deciding is held while it is decided whether the node has room for something. No worker's lock is held when it is taken.
	deciding sync.Mutex
	mu       sync.Mutex
	workers  map[types.UID]*worker
}

// NewManager makes a manager without pods. Its workers stop with ctx, and leave the pods running.
func NewManager(ctx context.Context, config Config) *Manager {
	return &Manager{ctx: ctx, config: config, workers: map[types.UID]*worker{}, turns: newTurns(), arrivals: newArrivals(),
		backOff: flowcontrol.NewBackOff(firstCrashBackOff, lastCrashBackOff)}
}

// Update runs the pod as its object says now, which includes ending it.
func (m *Manager) Update(pod *corev1.Pod) {
	m.mu.Lock()
	w := m.workers[pod.UID]
	if w == nil {
		w = m.add(pod)
	}
	m.mu.Unlock()
	m.config.Status.Refresh(pod)
	w.update(pod)
}

// add makes a worker. The caller holds the lock.
func (m *Manager) add(pod *corev1.Pod) *worker {
	w := newWorker(m, pod)
	m.workers[pod.UID] = w
	m.group.Go(func() {
		w.run(m.ctx)
		m.arrivals.leave(w.arrival)
		m.mu.Lock()
		delete(m.workers, pod.UID)
		m.mu.Unlock()
		m.roomLeft()
	})
	return w
}

// roomLeft wakes the pods that wait for resources which another one may just have left.
func (m *Manager) roomLeft() {
	m.mu.Lock()
	workers := slices.Collect(maps.Values(m.workers))
	m.mu.Unlock()
	for _, w := range workers {
		w.pokeDeferred()
	}
}

// Remove ends a pod whose object is gone.
func (m *Manager) Remove(pod *corev1.Pod) {
	m.mu.Lock()
	w := m.workers[pod.UID]
	m.mu.Unlock()
	if w != nil {
		w.remove(pod)
	}
}

// Orphan ends what the runtime holds of a pod that no API object asks for.
func (m *Manager) Orphan(state *podstate.State) {
	pod := state.Orphan()
	m.mu.Lock()
	if m.workers[pod.UID] != nil {
		m.mu.Unlock()
		return
	}
	w := m.add(pod)
	m.mu.Unlock()
	w.remove(pod)
}

// Evict ends a pod for a reason of the node's, within the grace period in seconds and its own. Its object stays, failed.
func (m *Manager) Evict(uid types.UID, reason, message string, grace int64) {
	m.mu.Lock()
	w := m.workers[uid]
	m.mu.Unlock()
	if w != nil {
		w.evict(reason, message, grace)
	}
}

// Terminate ends a pod because the node does, within the grace period in seconds and its own. The channel is closed when nothing of it runs
// and its last status was handed on.
func (m *Manager) Terminate(uid types.UID, reason, message string, grace int64) <-chan struct{} {
	m.mu.Lock()
	w := m.workers[uid]
	m.mu.Unlock()
	if w == nil {
		return closed()
	}
	return w.terminate(reason, message, grace)
}

// Shown tells what the API holds of a pod, where that is another object.
func (m *Manager) Shown(pod *corev1.Pod) { m.config.Status.Refresh(pod) }

// Store returns when the pod's last status is stored, or ctx ends.
func (m *Manager) Store(ctx context.Context, uid types.UID) error {
	return m.config.Status.Flush(ctx, uid)
}

// Wake makes a pod's worker look again; an empty UID wakes all.
func (m *Manager) Wake(uid string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if uid != "" {
		if w := m.workers[types.UID(uid)]; w != nil {
			w.poke()
		}
		return
	}
	for _, w := range m.workers {
		w.poke()
	}
}

// Retry is Wake for a reason that may make a failed attempt succeed now.
func (m *Manager) Retry(uid string) {
	m.mu.Lock()
	w := m.workers[types.UID(uid)]
	m.mu.Unlock()
	if w != nil {
		w.retry()
	}
}

// Known says whether a worker looks after the pod.
func (m *Manager) Known(uid string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.workers[types.UID(uid)] != nil
}

// View is a pod as its worker sees it: the object with the status that was last worked out, and the runtime's state.
type View struct {
	Pod      *corev1.Pod
	State    *podstate.State
	Admitted bool // the node has taken it, and has not told it to end
}

// takesRoom says whether the pod has resources and ports of the node.
func (v View) takesRoom() bool { return v.Admitted && !final(v.Pod.Status.Phase) }

// Views returns all pods. The values are shared: callers must not change them.
func (m *Manager) Views() []View {
	m.mu.Lock()
	workers := make([]*worker, 0, len(m.workers))
	for _, w := range m.workers {
		workers = append(workers, w)
	}
	m.mu.Unlock()
	var out []View
	for _, w := range workers {
		out = append(out, w.view())
	}
	return out
}

// ByUID returns one pod.
func (m *Manager) ByUID(uid string) (View, bool) {
	m.mu.Lock()
	w := m.workers[types.UID(uid)]
	m.mu.Unlock()
	if w == nil {
		return View{}, false
	}
	return w.view(), true
}

// Find returns one pod by name, and by UID when one is given.
func (m *Manager) Find(namespace, name, uid string) (View, bool) {
	var found View
	for _, v := range m.Views() {
		if v.Pod.Namespace != namespace || v.Pod.Name != name || uid != "" && uid != string(v.Pod.UID) {
			continue
		}
		// Of namesakes, the one that is not being deleted counts.
		if found.Pod == nil || found.Pod.DeletionTimestamp != nil {
			found = v
		}
	}
	return found, found.Pod != nil
}

// Collect drops what is no longer of use. Call it every few minutes.
func (m *Manager) Collect() {
	m.backOff.GC()
	m.config.Images.Forget()
	ctx, cancel := context.WithTimeout(m.ctx, sandboxTimeout)
	defer cancel()
	if err := m.config.Images.Prune(ctx); err != nil && m.ctx.Err() == nil {
		m.config.Log.Warn("who pulled images that are gone is not forgotten", "error", err)
	}
}

// Wait returns when every worker has returned, after the manager's context ended.
func (m *Manager) Wait() { m.group.Wait() }
