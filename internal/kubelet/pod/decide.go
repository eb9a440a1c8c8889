// SPDX-License-Identifier: Apache-2.0

package pod

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"eastwest/internal/kubelet/plan"
	"eastwest/internal/kubelet/podstate"
	"eastwest/internal/kubelet/status"
)

// decide begins the next operation, if there is one to begin. The caller holds the lock.
func (w *worker) decide(ctx context.Context) {
	switch {
	case w.op != nil:
		w.interrupt()
	case w.leaving() && w.stage == stopped:
		w.begin(ctx, "clear", true, w.clear)
	case w.leaving() || w.stage == running && (w.reason != "" || w.terminal()):
		w.begin(ctx, "end", true, w.end)
	case w.stage == running && !w.crowded():
		w.proceed(ctx)
	}
}

// interrupt cancels an operation that the end of the pod makes pointless, or that gives the pod more time than is left.
func (w *worker) interrupt() {
	ending := w.leaving() || w.reason != ""
	if ending && (!w.op.ending || w.grace() < w.op.grace) && w.stage == running {
		w.op.cancel()
	}
}

// begin runs do on a goroutine of its own; the worker is woken when it returns.
func (w *worker) begin(ctx context.Context, what string, ending bool, do func(ctx context.Context)) {
	ctx, cancel := context.WithCancel(ctx)
	w.op = &operation{cancel: cancel, ending: ending, grace: w.grace()}
	w.m.group.Go(func() {
		began := time.Now()
		do(ctx)
		cancel()
		w.log.Debug("operation done", "operation", what, "took", time.Since(began))
		w.mu.Lock()
		w.op = nil
		w.ended++
		w.mu.Unlock()
		w.poke()
	})
}

// proceed plans for a pod that is to run.
func (w *worker) proceed(ctx context.Context) {
	steps := plan.Next(w.pod, w.state, w.m.config.Probes)
	if steps.Finish {
		w.begin(ctx, "end", true, w.end)
		return
	}
	now := time.Now()
	if now.Before(w.notYet[""]) {
		return
	}
	inPlace := w.restartFor(&steps)
	w.hold(&steps, now)
	if (len(inPlace) > 0 || w.resizing.group) && !now.Before(w.resizing.retryAt) && len(steps.Kill)+len(steps.Start) == 0 {
		w.begin(ctx, "resize", false, func(ctx context.Context) { w.apply(ctx, inPlace) })
		return
	}
	if steps.Empty() {
		w.refresh(ctx, now)
		return
	}
	w.begin(ctx, "advance", false, func(ctx context.Context) { w.advance(ctx, steps) })
}

// hold takes out the containers that are not to be started yet.
func (w *worker) hold(steps *plan.Steps, now time.Time) {
	var start []string
	for _, name := range steps.Start {
		if !w.heldBack(name, now) {
			start = append(start, name)
		}
	}
	steps.Start = start
}

func (w *worker) heldBack(name string, now time.Time) bool {
	if now.Before(w.notYet[name]) {
		return true
	}
	c := w.state.Latest(name)
	if c == nil || !c.Exited() {
		return false
	}
	key := w.crashKey(name)
	if !w.m.backOff.IsInBackOffSince(key, c.Finished) {
		return false
	}
	delay := w.m.backOff.Get(key)
	w.notYet[name] = c.Finished.Add(delay)
	message := fmt.Sprintf("back-off %s restarting failed container=%s pod=%s_%s(%s)", delay, name, w.pod.Name, w.pod.Namespace, w.pod.UID)
	if w.waiting[name] != (status.Waiting{Reason: "CrashLoopBackOff", Message: message}) {
		w.m.config.Events.Pod(w.pod, name, corev1.EventTypeWarning, "BackOff",
			"Back-off restarting failed container %s in pod %s_%s(%s)", name, w.pod.Name, w.pod.Namespace, w.pod.UID)
		w.waiting[name] = status.Waiting{Reason: "CrashLoopBackOff", Message: message}
		w.report()
	}
	return true
}

func (w *worker) crashKey(name string) string {
	hash := ""
	if c := podstate.FindSpec(w.pod, name); c != nil {
		hash = podstate.Hash(c)
	}
	return fmt.Sprintf("%s_%s_%s", w.pod.UID, name, hash)
}

// refresh brings volumes up to date when something they show has changed: it is cheap when nothing has.
func (w *worker) refresh(ctx context.Context, now time.Time) {
	if w.state.ReadySandbox() == nil || len(w.pod.Spec.Volumes) == 0 || w.current(now) {
		return
	}
	w.begin(ctx, "refresh", false, func(ctx context.Context) { w.setupVolumes(ctx) })
}

// grace is how many seconds the pod may take to end. The caller holds the lock.
func (w *worker) grace() int64 {
	grace := int64(corev1.DefaultTerminationGracePeriodSeconds)
	if g := w.pod.Spec.TerminationGracePeriodSeconds; g != nil {
		grace = *g
	}
	if g := w.pod.DeletionGracePeriodSeconds; g != nil && w.pod.DeletionTimestamp != nil {
		grace = *g
	}
	if w.hurried {
		grace = min(grace, w.allowed)
	}
	return max(grace, 1)
}
