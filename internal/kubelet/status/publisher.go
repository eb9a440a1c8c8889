// SPDX-License-Identifier: Apache-2.0

package status

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"

	"eastwest/internal/client"
)

// How long one write may take, the pauses between attempts, and how long what nobody acts on waits for what comes next: most pods run
// by then, and one write says it all.
const (
	settle       = 500 * time.Millisecond
	writeTimeout = 10 * time.Second
	firstPause   = 50 * time.Millisecond
	lastPause    = 5 * time.Second
	parallel     = 16
)

// Publisher stores pods' statuses in the API: the latest of each pod, many pods at once, again and again until it is stored. Safe for
// concurrent use.
type Publisher struct {
	ctx    context.Context
	client *client.Client
	log    *slog.Logger
	target Target
	slots  chan struct{}
	mu     sync.Mutex
	pods   map[types.UID]*pending
}

type pending struct {
	pod     *corev1.Pod
	want    *corev1.PodStatus
	stored  *corev1.PodStatus
	version string      // of the object that the last write made
	seen    *corev1.Pod // what the API told while writing
	writing bool
	hurry   chan struct{} // holds a word when what is wanted is not to wait
	done    chan struct{} // closed when want is stored, or the pod is gone
}

// Target returns the UID of the object that shows a pod in the API; false while there is none, and nothing to store.
type Target func(pod *corev1.Pod) (types.UID, bool)

// NewPublisher makes a publisher that works until ctx ends.
func NewPublisher(ctx context.Context, c *client.Client, target Target, log *slog.Logger) *Publisher {
	return &Publisher{ctx: ctx, client: c, log: log, target: target, slots: make(chan struct{}, parallel), pods: map[types.UID]*pending{}}
}

// Set stores the status: soon, or at once when somebody may act on it. Equal to the last one, it costs nothing.
func (p *Publisher) Set(pod *corev1.Pod, s corev1.PodStatus) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w := p.pods[pod.UID]
	if w == nil {
		w = &pending{stored: &pod.Status, hurry: make(chan struct{}, 1), done: make(chan struct{})}
		p.pods[pod.UID] = w
	}
	w.pod = pod
	if Equal(w.stored, &s) && !w.writing {
		w.want = nil
		return
	}
	w.want = &s
	if !starting(&s) {
		w.hasten()
	}
	if !w.writing {
		w.writing, w.done = true, make(chan struct{})
		go p.write(w)
	}
}

func (w *pending) hasten() {
	select {
	case w.hurry <- struct{}{}:
	default:
	}
}

// starting says that a pod is being made and that nothing went wrong so far.
func starting(s *corev1.PodStatus) bool {
	if s.Phase != corev1.PodPending || s.Reason != "" {
		return false
	}
	for _, list := range [][]corev1.ContainerStatus{s.InitContainerStatuses, s.ContainerStatuses} {
		for i := range list {
			c := &list[i]
			waits := c.State.Waiting
			if waits == nil || waits.Reason != "ContainerCreating" && waits.Reason != "PodInitializing" || c.LastTerminationState.Terminated != nil {
				return false
			}
		}
	}
	return true
}

// Refresh tells what the API holds now, so that a change by somebody else is noticed at the next Set. What is older than our last
// write says nothing: it would have that written again.
func (p *Publisher) Refresh(pod *corev1.Pod) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w := p.pods[pod.UID]
	switch {
	case w == nil:
	case w.writing:
		w.seen = pod
	case !older(pod.ResourceVersion, w.version):
		w.stored = &pod.Status
	}
}

// older compares versions; those that cannot be compared are not.
func older(a, b string) bool {
	order, err := resourceversion.CompareResourceVersion(a, b)
	return err == nil && order < 0
}

// Flush returns when the last status of the pod is stored, or ctx ends.
func (p *Publisher) Flush(ctx context.Context, uid types.UID) error {
	p.mu.Lock()
	w := p.pods[uid]
	if w == nil || !w.writing {
		p.mu.Unlock()
		return nil
	}
	done := w.done
	w.hasten()
	p.mu.Unlock()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Forget drops what is known of a pod.
func (p *Publisher) Forget(uid types.UID) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w := p.pods[uid]; w != nil {
		w.want = nil
		w.hasten()
		delete(p.pods, uid)
	}
}

// write runs while there is something to store.
func (p *Publisher) write(w *pending) {
	for pause := firstPause; ; {
		p.settle(w)
		p.mu.Lock()
		w.look()
		want, pod := w.want, w.pod
		if want == nil || p.ctx.Err() != nil || Equal(w.stored, want) {
			w.writing, w.want = false, nil
			close(w.done)
			p.mu.Unlock()
			return
		}
		p.mu.Unlock()
		version, err := p.patch(pod, want)
		if err == nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
			p.mu.Lock()
			w.written(want, version)
			p.mu.Unlock()
			pause = firstPause
			continue
		}
		if p.ctx.Err() == nil {
			p.log.Warn("pod status not stored, will retry", "pod", pod.Namespace+"/"+pod.Name, "error", err)
		}
		select {
		case <-p.ctx.Done():
		case <-time.After(pause):
			pause = min(pause*2, lastPause)
		}
		w.hasten() // it has waited
	}
}

// settle waits for a word to hurry. Nothing that is wanted need not be waited for.
func (p *Publisher) settle(w *pending) {
	p.mu.Lock()
	idle := w.want == nil || Equal(w.stored, w.want)
	p.mu.Unlock()
	if idle {
		return
	}
	select {
	case <-w.hurry:
	case <-time.After(settle):
	case <-p.ctx.Done():
	}
}

// written notes what the API has now. The caller holds the lock.
func (w *pending) written(status *corev1.PodStatus, version string) {
	if w.stored = status; version != "" {
		w.version = version
	}
	if w.want == status {
		w.want = nil
	}
}

// look notes what the API told meanwhile, unless it is from before the last write. The caller holds the lock.
func (w *pending) look() {
	if w.seen != nil && !older(w.seen.ResourceVersion, w.version) {
		w.stored = &w.seen.Status
	}
	w.seen = nil
}

// patch stores a status and returns the version of the object that came of it.
func (p *Publisher) patch(pod *corev1.Pod, want *corev1.PodStatus) (string, error) {
	uid, shown := p.target(pod)
	if !shown {
		return "", nil
	}
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	case <-p.ctx.Done():
		return "", p.ctx.Err()
	}
	body, err := Patch(uid, want)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(p.ctx, writeTimeout)
	defer cancel()
	var now corev1.Pod
	err = p.client.Core().Patch(types.StrategicMergePatchType).Namespace(pod.Namespace).Resource("pods").Name(pod.Name).
		SubResource("status").Body(body).Do(ctx).Into(&now)
	if err != nil {
		return "", fmt.Errorf("patch the status of pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	return now.ResourceVersion, nil
}
