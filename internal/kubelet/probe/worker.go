// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"context"
	"errors"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// eagerFor is how long after its start a container is asked for readiness more often than its period says: most servers listen
// within milliseconds, and their clients need not wait for a whole period. Failures of these extra questions do not count.
const (
	eagerFor   = 2 * time.Second
	eagerFirst = 10 * time.Millisecond
)

type worker struct {
	m      *Manager
	pod    *corev1.Pod
	w      *watched
	target Target
	kind   string
	spec   *corev1.Probe
	good   int32 // in a row
	bad    int32
}

func (m *Manager) newWorker(pod *corev1.Pod, w *watched, target Target, kind string, spec *corev1.Probe) *worker {
	return &worker{m: m, pod: pod, w: w, target: target, kind: kind, spec: spec}
}

func (p *worker) run(ctx context.Context) {
	if p.kind != Startup {
		select {
		case <-p.w.startup:
		case <-ctx.Done():
			return
		}
	}
	if !p.w.previous && !pause(ctx, seconds(p.spec.InitialDelaySeconds, 0)) {
		return
	}
	if p.eager(ctx) {
		return
	}
	period := seconds(p.spec.PeriodSeconds, 10*time.Second)
	for {
		if p.once(ctx) || !pause(ctx, period) {
			return
		}
	}
}

// eager asks often at first; true means that nothing is left to ask.
func (p *worker) eager(ctx context.Context) bool {
	if p.kind == Liveness || p.w.previous || p.spec.Exec != nil {
		return false
	}
	deadline := time.Now().Add(min(eagerFor, seconds(p.spec.PeriodSeconds, 10*time.Second)))
	for wait := eagerFirst; time.Now().Add(wait).Before(deadline); wait *= 2 {
		if p.check(ctx) == nil {
			return false // the first counted question follows at once
		}
		if !pause(ctx, wait) {
			return true
		}
	}
	return false
}

func (p *worker) check(ctx context.Context) error {
	err := Check(ctx, p.target, p.spec.ProbeHandler, seconds(p.spec.TimeoutSeconds, time.Second))
	if w := warning(""); errors.As(err, &w) {
		p.m.events.Pod(p.pod, p.target.Spec.Name, corev1.EventTypeWarning, "ProbeWarning", "%s probe warning: %s", title(p.kind), w)
		return nil
	}
	return err
}

// once asks and counts; true means that this probe has nothing more to find out.
func (p *worker) once(ctx context.Context) bool {
	err := p.check(ctx)
	if ctx.Err() != nil {
		return true
	}
	if err == nil {
		p.good, p.bad = p.good+1, 0
		return p.good >= max(p.spec.SuccessThreshold, 1) && p.passed()
	}
	p.good, p.bad = 0, p.bad+1
	p.m.events.Pod(p.pod, p.target.Spec.Name, corev1.EventTypeWarning, "Unhealthy", "%s probe failed: %s", title(p.kind), err)
	threshold := p.spec.FailureThreshold
	if threshold <= 0 {
		threshold = 3
	}
	return p.bad >= threshold && p.refused()
}

func (p *worker) passed() bool {
	p.m.mu.Lock()
	changed := false
	switch p.kind {
	case Startup:
		changed = !p.w.started
		if changed {
			p.w.started = true
			close(p.w.startup)
		}
	case Readiness:
		changed, p.w.ready = !p.w.ready, true
	}
	p.m.mu.Unlock()
	if changed {
		p.m.changed(string(p.pod.UID))
	}
	return p.kind == Startup
}

func (p *worker) refused() bool {
	p.m.mu.Lock()
	changed := false
	if p.kind == Readiness {
		changed, p.w.ready = p.w.ready, false
	} else {
		changed, p.w.failed = p.w.failed == "", p.kind
	}
	p.m.mu.Unlock()
	if changed {
		p.m.changed(string(p.pod.UID))
	}
	return p.kind != Readiness
}

func title(kind string) string { return strings.ToUpper(kind[:1]) + kind[1:] }

func seconds(n int32, standard time.Duration) time.Duration {
	if n <= 0 {
		return standard
	}
	return time.Duration(n) * time.Second
}

// pause says whether ctx still lives after d.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return ctx.Err() == nil
	}
}
