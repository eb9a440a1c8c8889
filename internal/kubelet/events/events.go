// SPDX-License-Identifier: Apache-2.0

// Package events reports what happens to pods, Services and the node as core/v1 events, those that `kubectl describe` lists. Repetitions become one
// event with a count. Reporting never blocks and never fails its caller: when the API server cannot keep up, events are dropped.
package events

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"eastwest/internal/client"
)

// Bounds: what waits to be sent, what is remembered for counting, and for how long.
const (
	queueLength = 512
	memory      = 2048
	forgetAfter = 10 * time.Minute
	sendTimeout = 10 * time.Second
)

// Recorder sends events. Safe for concurrent use.
type Recorder struct {
	client    *client.Client
	component string
	node      string
	log       *slog.Logger
	queue     chan *corev1.Event
	mu        sync.Mutex
	seen      map[key]*sent
	serial    uint64
}

type key struct {
	uid                          types.UID
	field, kind, reason, message string
}

type sent struct {
	name  string
	count int32
	first metav1.Time
	last  time.Time
}

// New makes a recorder for a component of this node, as the events' source calls it; Run sends.
func New(c *client.Client, component, node string, log *slog.Logger) *Recorder {
	return &Recorder{client: c, component: component, node: node, log: log, queue: make(chan *corev1.Event, queueLength), seen: map[key]*sent{}}
}

// Pod records an event of a pod, or of one of its containers when container is not empty.
func (r *Recorder) Pod(pod *corev1.Pod, container, kind, reason, format string, args ...any) {
	ref := corev1.ObjectReference{Kind: "Pod", APIVersion: "v1", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID,
		ResourceVersion: pod.ResourceVersion, FieldPath: fieldPath(pod, container)}
	r.record(ref, kind, reason, fmt.Sprintf(format, args...))
}

// Service records an event of a Service.
func (r *Recorder) Service(service *corev1.Service, kind, reason, format string, args ...any) {
	ref := corev1.ObjectReference{Kind: "Service", APIVersion: "v1", Namespace: service.Namespace, Name: service.Name, UID: service.UID}
	r.record(ref, kind, reason, fmt.Sprintf(format, args...))
}

// Node records an event of this node.
func (r *Recorder) Node(kind, reason, format string, args ...any) {
	ref := corev1.ObjectReference{Kind: "Node", Name: r.node, UID: types.UID(r.node)}
	r.record(ref, kind, reason, fmt.Sprintf(format, args...))
}

func fieldPath(pod *corev1.Pod, container string) string {
	if container == "" {
		return ""
	}
	for i := range pod.Spec.InitContainers {
		if pod.Spec.InitContainers[i].Name == container {
			return fmt.Sprintf("spec.initContainers{%s}", container)
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		if pod.Spec.EphemeralContainers[i].Name == container {
			return fmt.Sprintf("spec.ephemeralContainers{%s}", container)
		}
	}
	return fmt.Sprintf("spec.containers{%s}", container)
}

func (r *Recorder) record(ref corev1.ObjectReference, kind, reason, message string) {
	now := time.Now()
	k := key{ref.UID, ref.FieldPath, kind, reason, message}
	r.mu.Lock()
	s := r.seen[k]
	if s == nil || now.Sub(s.last) > forgetAfter {
		r.forget(now)
		r.serial++
		s = &sent{name: fmt.Sprintf("%s.%x%x", ref.Name, now.UnixNano(), r.serial), first: metav1.NewTime(now)}
		r.seen[k] = s
	}
	s.count++
	s.last = now
	event := &corev1.Event{
		InvolvedObject: ref, Type: kind, Reason: reason, Message: message, Count: s.count,
		FirstTimestamp: s.first, LastTimestamp: metav1.NewTime(now),
		Source:              corev1.EventSource{Component: r.component, Host: r.node},
		ReportingController: r.component, ReportingInstance: r.node,
	}
	event.Name, event.Namespace = s.name, ref.Namespace
	r.mu.Unlock()
	if event.Namespace == "" {
		event.Namespace = metav1.NamespaceDefault
	}
	select {
	case r.queue <- event:
	default:
	}
}

// forget keeps the memory bounded. The caller holds the lock.
func (r *Recorder) forget(now time.Time) {
	if len(r.seen) < memory {
		return
	}
	for k, s := range r.seen {
		if now.Sub(s.last) > forgetAfter || len(r.seen) >= memory {
			delete(r.seen, k)
		}
	}
}

// Run sends what is recorded until ctx ends.
func (r *Recorder) Run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case event := <-r.queue:
			if err := r.send(ctx, event); err != nil && ctx.Err() == nil {
				r.log.Debug("event not recorded", "object", event.InvolvedObject.Name, "reason", event.Reason, "error", err)
			}
		}
	}
}

func (r *Recorder) send(ctx context.Context, event *corev1.Event) error {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	if event.Count > 1 {
		patch, err := json.Marshal(map[string]any{"count": event.Count, "lastTimestamp": event.LastTimestamp})
		if err != nil {
			return fmt.Errorf("encode event %s: %w", event.Name, err)
		}
		err = r.client.Core().Patch(types.StrategicMergePatchType).Namespace(event.Namespace).Resource("events").
			Name(event.Name).Body(patch).Do(ctx).Error()
		if !apierrors.IsNotFound(err) {
			return err
		}
	}
	err := r.client.Core().Post().Namespace(event.Namespace).Resource("events").Body(event).Do(ctx).Error()
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		return nil
	}
	return err
}
