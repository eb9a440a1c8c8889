// SPDX-License-Identifier: Apache-2.0

package pod

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"eastwest/internal/kubelet/eviction"
	"eastwest/internal/kubelet/podstate"
	"eastwest/internal/kubelet/shutdown"
	"eastwest/internal/kubelet/status"
)

// errorPause is how long a worker waits after a runtime that does not answer, and finishPause after a clean-up that failed.
const (
	errorPause  = time.Second
	finishPause = 200 * time.Millisecond
)

// stage is how far the end of a pod has come. It only ever grows.
type stage int

const (
	running stage = iota
	stopped       // nothing of it runs, nothing will be started
	removed       // nothing of it is left
)

// worker runs one pod.
type worker struct {
	m       *Manager
	log     *slog.Logger
	wake    chan struct{}
	arrival *arrival

	mu       sync.Mutex
	pod      *corev1.Pod
	gone     bool // no object in the API any more
	admitted bool // whether this node may run it was looked at
	reason   string
	message  string
	stage    stage
	op       *operation
	ended    int // operations that ended so far
	waiting  map[string]status.Waiting
	starting map[string]bool
	notYet   map[string]time.Time // by container, or "" for the sandbox: not to be tried again before
	last     corev1.PodStatus
	state    *podstate.State
	failures int               // of the sandbox and volumes, in a row
	messages map[string]string // last words by container id
	hurried  bool              // it ends within allowed seconds, whatever its grace period
	allowed  int64
	stale    bool              // an object that the volumes show may have changed
	down     chan struct{}     // closed when nothing runs any more, and that is reported
	refused  bool              // the node did not take it
	awaited  []<-chan struct{} // pods that make room for it: closed when they are down
	resizing resizing
}

// operation is what the worker's second goroutine is doing.
type operation struct {
	cancel context.CancelFunc
	ending bool  // it ends the pod
	grace  int64 // with which period
}

func newWorker(m *Manager, pod *corev1.Pod) *worker {
	w := &worker{m: m, pod: pod, wake: make(chan struct{}, 1), arrival: m.arrivals.join(pod.CreationTimestamp.Time), state: &podstate.State{UID: string(pod.UID)},
		log:     m.config.Log.With("pod", pod.Namespace+"/"+pod.Name),
		waiting: map[string]status.Waiting{}, starting: map[string]bool{}, notYet: map[string]time.Time{},
		last: *pod.Status.DeepCopy(), messages: map[string]string{}, down: make(chan struct{})}
	w.resizing = resizing{granted: map[string]corev1.ResourceRequirements{}, applied: map[string]corev1.ResourceRequirements{}, restarts: map[string]bool{}}
	w.resizing.recall(pod)
	w.pod = w.resizing.take(pod)
	w.resume()
	return w
}

func (w *worker) poke() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *worker) update(pod *corev1.Pod) {
	w.mu.Lock()
	changed := differs(w.pod, pod)
	if changed {
		w.stale = true
		clear(w.notYet)
	}
	echo := !changed && status.Equal(&pod.Status, &w.last) // of what we wrote ourselves
	w.pod = w.resizing.take(pod)
	w.mu.Unlock()
	if !echo {
		w.poke()
	}
}

// differs says whether anything changed that the kubelet did not write itself.
func differs(before, now *corev1.Pod) bool {
	return before.Generation != now.Generation || !before.DeletionTimestamp.Equal(now.DeletionTimestamp) ||
		!maps.Equal(before.Labels, now.Labels) || !maps.Equal(before.Annotations, now.Annotations)
}

func (w *worker) remove(pod *corev1.Pod) {
	w.mu.Lock()
	w.gone, w.pod = true, pod
	w.mu.Unlock()
	w.poke()
}

func (w *worker) evict(reason, message string, grace int64) {
	w.mu.Lock()
	if w.reason == "" && !w.leaving() && !w.terminal() {
		w.reason, w.message, w.hurried, w.allowed = reason, message, true, grace
		w.m.config.Events.Pod(w.pod, "", corev1.EventTypeWarning, reason, "%s", message)
	}
	w.mu.Unlock()
	w.poke()
}

// terminate is evict for a node that ends: it also hurries a pod that is ending already.
func (w *worker) terminate(reason, message string, grace int64) <-chan struct{} {
	w.mu.Lock()
	if w.reason == "" && !w.leaving() && !w.terminal() {
		w.reason, w.message = reason, message
	}
	if !w.hurried || grace < w.allowed {
		w.hurried, w.allowed = true, grace
	}
	w.mu.Unlock()
	w.poke()
	return w.down
}

// resume takes up what the node decided before this agent started: a pod that was told to end does not go on.
func (w *worker) resume() {
	if s := &w.pod.Status; !final(s.Phase) && slices.Contains([]string{eviction.Reason, shutdown.Reason, status.Preempting}, s.Reason) {
		w.reason, w.message = s.Reason, s.Message
	}
	w.refused = w.pod.Status.Phase == corev1.PodFailed && strings.HasPrefix(w.pod.Status.Message, rejected)
}

// tellDown says to those who wait that the pod has ended. The caller holds the lock.
func (w *worker) tellDown() {
	select {
	case <-w.down:
	default:
		if w.stage >= stopped {
			close(w.down)
		}
	}
}

func (w *worker) retry() {
	w.mu.Lock()
	w.stale = true
	clear(w.notYet)
	w.mu.Unlock()
	w.poke()
}

func (w *worker) view() View {
	w.mu.Lock()
	defer w.mu.Unlock()
	pod := *w.pod
	pod.Status = w.last
	return View{Pod: &pod, State: w.state, Admitted: w.admitted && w.reason == "" && !w.gone}
}

// run works until the pod is removed or ctx ends.
func (w *worker) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		next, done := w.sync(ctx)
		if done {
			return
		}
		timer.Reset(next)
		select {
		case <-ctx.Done():
			w.abort()
			return
		case <-w.wake:
		case <-timer.C:
		}
	}
}

// abort cancels what is being done, so that the program can end; the runtime keeps what is there.
func (w *worker) abort() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.op != nil {
		w.op.cancel()
	}
}

// sync looks once, reports, and begins the next operation. It returns when to look again if nothing happens before.
func (w *worker) sync(ctx context.Context) (time.Duration, bool) {
	defer w.m.arrivals.leave(w.arrival) // it was its turn, or it has lost it
	uid, ended := w.identity()
	state, err := w.m.config.CRI.Observe(ctx, string(uid))
	if err != nil {
		if ctx.Err() == nil {
			w.log.Warn("container runtime does not answer", "error", err)
		}
		return errorPause, false
	}
	w.lastWords(state)
	on := w.place(ctx, state)
	w.awaitTurn(ctx, state)
	others, decided := w.others()
	defer decided()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended != ended {
		w.poke() // an operation ended while we looked: what we saw may be from before its end, and would have it done twice
		return errorPause, false
	}
	w.state = state
	w.admit(on, others)
	w.resize(others)
	w.finishResize()
	w.expire(time.Now())
	w.probes()
	w.report()
	w.tellDown()
	if w.stage == removed {
		w.forget()
		return 0, true
	}
	w.decide(ctx)
	return w.nextLook(time.Now()), false
}

// others returns the node's other pods when it is to be decided whether it has room for what this one asks for. Until decided is called nobody else
// decides, so that no two get the same room.
func (w *worker) others() (others []View, decided func()) {
	w.mu.Lock()
	open, uid := !w.admitted || w.pod != w.resizing.asked, w.pod.UID
	w.mu.Unlock()
	if !open {
		return nil, func() {}
	}
	w.m.deciding.Lock()
	for _, v := range w.m.Views() {
		if v.Pod.UID != uid {
			others = append(others, v)
		}
	}
	return others, w.m.deciding.Unlock
}

// identity returns whose worker this is, and how many operations have ended.
func (w *worker) identity() (podstate.UID, int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pod.UID, w.ended
}

// expire ends a pod that has run for as long as it may. The caller holds the lock.
func (w *worker) expire(now time.Time) {
	limit := w.pod.Spec.ActiveDeadlineSeconds
	if limit == nil || w.reason != "" || w.last.StartTime == nil || w.terminal() {
		return
	}
	if now.Sub(w.last.StartTime.Time) >= time.Duration(*limit)*time.Second {
		w.reason, w.message = "DeadlineExceeded", "Pod was active on the node longer than the specified deadline"
		w.m.config.Events.Pod(w.pod, "", corev1.EventTypeNormal, "DeadlineExceeded", "%s", w.message)
	}
}

func (w *worker) terminal() bool {
	return w.last.Phase == corev1.PodSucceeded || w.last.Phase == corev1.PodFailed
}

// leaving says that the pod is to be removed from the node. The caller holds the lock.
func (w *worker) leaving() bool { return w.gone || w.pod.DeletionTimestamp != nil }

// nextLook returns when something is due that no event announces. The caller holds the lock.
func (w *worker) nextLook(now time.Time) time.Duration {
	next := now.Add(time.Hour)
	sooner := func(t time.Time) {
		if !t.IsZero() && t.Before(next) {
			next = t
		}
	}
	if w.op == nil {
		for _, t := range w.notYet {
			if t.After(now) { // one that has passed was considered just now
				sooner(t)
			}
		}
	}
	sooner(w.m.config.Volumes.RefreshAt(w.pod))
	if w.resizing.retryAt.After(now) {
		sooner(w.resizing.retryAt)
	}
	if w.resizing.refused.Reason == corev1.PodReasonDeferred {
		sooner(now.Add(resizePause))
	}
	if limit := w.pod.Spec.ActiveDeadlineSeconds; limit != nil && w.last.StartTime != nil && w.reason == "" {
		sooner(w.last.StartTime.Add(time.Duration(*limit) * time.Second))
	}
	return max(next.Sub(now), 10*time.Millisecond)
}
