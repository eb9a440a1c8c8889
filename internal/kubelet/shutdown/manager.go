// SPDX-License-Identifier: Apache-2.0

package shutdown

import (
	"context"
	"log/slog"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// What pods and the node say of it.
const (
	Reason  = "Terminated"
	Message = "Pod was terminated in response to imminent node shutdown."

	RefusedReason  = "NodeShutdown"
	RefusedMessage = "Pod was rejected as the node is shutting down."

	began     = "Shutdown manager detected shutdown event"
	calledOff = "Shutdown manager detected shutdown cancellation"
)

// slack is how much longer than its period a group is waited for: the last of it are killed at the end of the period, and that is to be
// seen and stored.
const slack = 3 * time.Second

// Config says what to end and how. All fields are required.
type Config struct {
	Periods Periods
	// Pods lists the pods that are not over, as soon as all of them are known.
	Pods func(ctx context.Context) []*corev1.Pod
	// End begins to end a pod within seconds. The channel is closed when nothing of it runs.
	End func(pod *corev1.Pod, seconds int64) <-chan struct{}
	// Store returns when the pods' last statuses are stored, or ctx ends.
	Store func(ctx context.Context, pods []*corev1.Pod)
	// Changed has the node's status looked at; Event records an event of the node.
	Changed func()
	Event   func(message string)
	Log     *slog.Logger
}

// Manager ends pods when it is told to. Safe for concurrent use.
type Manager struct {
	config Config
	mu     sync.Mutex
	down   bool
	cancel context.CancelFunc
	done   chan struct{}
}

// New makes a manager of a node that is not shutting down.
func New(config Config) *Manager { return &Manager{config: config} }

// Enabled says whether pods are ended before the machine.
func (m *Manager) Enabled() bool { return len(m.config.Periods) > 0 }

// ShuttingDown says whether the node is.
func (m *Manager) ShuttingDown() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.down
}

// Begin shuts the node down. The channel is closed when its pods have ended or have had their time. Told again, it changes nothing.
func (m *Manager) Begin(ctx context.Context) <-chan struct{} {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down {
		return m.done
	}
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	m.down, m.cancel, m.done = true, cancel, done
	go func() {
		defer close(done)
		defer cancel()
		m.config.Log.Info("the node is shutting down")
		m.config.Event(began)
		m.config.Changed()
		m.end(ctx)
	}()
	return done
}

// Cancel takes the shutdown back: the node takes pods again, and those that were not told to end go on.
func (m *Manager) Cancel() {
	m.mu.Lock()
	was, cancel := m.down, m.cancel
	m.down = false
	m.mu.Unlock()
	if !was {
		return
	}
	cancel()
	m.config.Log.Info("the shutdown of the node is cancelled")
	m.config.Event(calledOff)
	m.config.Changed()
}

// end ends one group of pods after the other.
func (m *Manager) end(ctx context.Context) {
	for _, g := range m.config.Periods.groups(m.config.Pods(ctx)) {
		if ctx.Err() != nil {
			return
		}
		limited, cancel := context.WithTimeout(ctx, g.Grace+slack)
		m.endGroup(limited, g)
		cancel()
	}
}

func (m *Manager) endGroup(ctx context.Context, g group) {
	m.config.Log.Info("pods end", "priority", g.Priority, "pods", len(g.pods), "within", g.Grace)
	ended := make([]<-chan struct{}, len(g.pods))
	for i, pod := range g.pods {
		ended[i] = m.config.End(pod, g.grace(pod))
	}
	for i := range ended {
		select {
		case <-ended[i]:
		case <-ctx.Done():
			if ctx.Err() == context.DeadlineExceeded {
				m.config.Log.Warn("pods did not end within their period", "priority", g.Priority)
			}
			return
		}
	}
	m.config.Store(ctx, g.pods)
}
