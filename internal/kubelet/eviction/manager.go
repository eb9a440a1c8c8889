// SPDX-License-Identifier: Apache-2.0

package eviction

import (
	"context"
	"log/slog"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"eastwest/internal/kubelet/render"
)

// Reason is what a pod says that was evicted or refused for the node's sake.
const Reason = "Evicted"

// Config says what to keep free and how to look and act. All fields are required but Log.
type Config struct {
	Thresholds []Threshold
	// MaxPodGrace is how long pods that go for a soft threshold may take at most.
	MaxPodGrace time.Duration
	// Period is how often the node is looked at; Keep is how long it says that it is under pressure after it was.
	Period, Keep time.Duration
	Observe      func() map[Signal]Reading
	// Pods lists the pods that run here, Usage what each uses of a resource.
	Pods  func() []*corev1.Pod
	Usage func(ctx context.Context, of corev1.ResourceName, pods []*corev1.Pod) map[types.UID]Usage
	// EmptyDir measures a volume of a pod.
	EmptyDir func(pod *corev1.Pod, volume string) int64
	// Reclaim removes from the disk what nobody needs.
	Reclaim func(ctx context.Context)
	// Evict ends a pod within the grace period, at once when that is zero.
	Evict func(pod *corev1.Pod, message string, grace time.Duration)
	Log   *slog.Logger
}

// Manager watches over a node. Safe for concurrent use.
type Manager struct {
	config   Config
	mu       sync.Mutex
	pressure pressure
	waiting  waiting
}

// New looks at the node once, so that it says from the beginning how it is.
func New(config Config) *Manager {
	m := &Manager{config: config, pressure: pressure{}, waiting: waiting{}}
	m.look()
	return m
}

// look returns what is to be acted on. The node says that it is short of something as soon as it is.
func (m *Manager) look() []breach {
	list, now := breaches(m.config.Thresholds, m.config.Observe()), time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pressure.see(list, now)
	return m.waiting.due(list, now)
}

// Under reports whether the node is under such pressure, or was a short while ago.
func (m *Manager) Under(kind corev1.NodeConditionType) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.pressure.has(kind, time.Now(), m.config.Keep)
}

// Refuse says why this node does not take a pod now, or nothing.
func (m *Manager) Refuse(pod *corev1.Pod, bestEffort bool) string {
	var conditions []corev1.NodeConditionType
	for _, kind := range []corev1.NodeConditionType{corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure} {
		if m.Under(kind) {
			conditions = append(conditions, kind)
		}
	}
	return admit(pod, bestEffort, conditions)
}

// Run looks and acts until ctx ends.
func (m *Manager) Run(ctx context.Context) {
	ticker := time.NewTicker(m.config.Period)
	defer ticker.Stop()
	for {
		m.limitStorage(ctx)
		m.relieve(ctx)
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// relieve sees to the first thing that is short: by what nobody needs, then by one pod, whose end shows at the next look.
func (m *Manager) relieve(ctx context.Context) {
	list := m.look()
	if len(list) > 0 && list[0].signal.condition() == corev1.NodeDiskPressure {
		m.config.Reclaim(ctx)
		list = m.look()
	}
	if len(list) == 0 {
		return
	}
	short := list[0]
	all := m.candidates(ctx, short.signal.resource(), func(pod *corev1.Pod) bool { return !render.IsCritical(pod) })
	if len(all) == 0 {
		m.config.Log.Warn("the node is short, and has no pod that may be evicted", "signal", short.signal,
			"available", short.show(short.available), "threshold", short.show(short.least))
		return
	}
	rank(all, short.signal.resource())
	grace := time.Duration(0)
	if short.soft {
		grace = m.config.MaxPodGrace
	}
	m.evict(all[0].pod, short.message(all[0]), grace)
}

// limitStorage evicts the pods that use more local storage than they may.
func (m *Manager) limitStorage(ctx context.Context) {
	for _, c := range m.candidates(ctx, corev1.ResourceEphemeralStorage, limited) {
		volume := func(name string) int64 { return m.config.EmptyDir(c.pod, name) }
		if message := overLimit(c.pod, c.usage, volume); message != "" {
			m.evict(c.pod, message, 0)
		}
	}
}

func (m *Manager) evict(pod *corev1.Pod, message string, grace time.Duration) {
	m.config.Log.Warn("pod evicted", "pod", pod.Namespace+"/"+pod.Name, "message", message)
	m.config.Evict(pod, message, grace)
}

// candidates lists pods that are not on their way out, with what they use.
func (m *Manager) candidates(ctx context.Context, of corev1.ResourceName, which func(*corev1.Pod) bool) []candidate {
	var pods []*corev1.Pod
	for _, pod := range m.config.Pods() {
		over := pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
		if !over && pod.DeletionTimestamp == nil && pod.Status.Reason == "" && which(pod) {
			pods = append(pods, pod)
		}
	}
	if len(pods) == 0 {
		return nil
	}
	usage := m.config.Usage(ctx, of, pods)
	list := make([]candidate, 0, len(pods))
	for _, pod := range pods {
		list = append(list, candidate{pod, usage[pod.UID]})
	}
	return list
}
