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

	"eastwest/internal/client"
)

// How long one write may take, and the pauses between attempts.
const (
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
	slots  chan struct{}
	mu     sync.Mutex
	pods   map[types.UID]*pending
}

type pending struct {
	pod     *corev1.Pod
	want    *corev1.PodStatus
	stored  *corev1.PodStatus
	writing bool
	done    chan struct{} // closed when want is stored, or the pod is gone
}

// NewPublisher makes a publisher that works until ctx ends.
func NewPublisher(ctx context.Context, c *client.Client, log *slog.Logger) *Publisher {
	return &Publisher{ctx: ctx, client: c, log: log, slots: make(chan struct{}, parallel), pods: map[types.UID]*pending{}}
}

// Set stores the status soon. Equal to the last one, it costs nothing.
func (p *Publisher) Set(pod *corev1.Pod, s corev1.PodStatus) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w := p.pods[pod.UID]
	if w == nil {
		w = &pending{stored: &pod.Status, done: make(chan struct{})}
		p.pods[pod.UID] = w
	}
	w.pod = pod
	if Equal(w.stored, &s) && !w.writing {
		w.want = nil
		return
	}
	w.want = &s
	if !w.writing {
		w.writing, w.done = true, make(chan struct{})
		go p.write(w)
	}
}

// Refresh tells what the API holds now, so that a change by somebody else is noticed at the next Set.
func (p *Publisher) Refresh(pod *corev1.Pod) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if w := p.pods[pod.UID]; w != nil && !w.writing {
		w.stored = &pod.Status
	}
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
		delete(p.pods, uid)
	}
}

// write runs while there is something to store.
func (p *Publisher) write(w *pending) {
	pause := firstPause
	for {
		p.mu.Lock()
		want, pod := w.want, w.pod
		if want == nil || p.ctx.Err() != nil {
			w.writing = false
			close(w.done)
			p.mu.Unlock()
			return
		}
		p.mu.Unlock()
		err := p.patch(pod, want)
		p.mu.Lock()
		if err == nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
			if w.stored, pause = want, firstPause; w.want == want {
				w.want = nil
			}
			p.mu.Unlock()
			continue
		}
		p.mu.Unlock()
		if p.ctx.Err() == nil {
			p.log.Warn("pod status not stored, will retry", "pod", pod.Namespace+"/"+pod.Name, "error", err)
		}
		select {
		case <-p.ctx.Done():
		case <-time.After(pause):
			pause = min(pause*2, lastPause)
		}
	}
}

func (p *Publisher) patch(pod *corev1.Pod, want *corev1.PodStatus) error {
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	case <-p.ctx.Done():
		return p.ctx.Err()
	}
	body, err := Patch(pod.UID, want)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(p.ctx, writeTimeout)
	defer cancel()
	err = p.client.Core().Patch(types.StrategicMergePatchType).Namespace(pod.Namespace).Resource("pods").Name(pod.Name).
		SubResource("status").Body(body).Do(ctx).Error()
	if err != nil {
		return fmt.Errorf("patch the status of pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	return nil
}
