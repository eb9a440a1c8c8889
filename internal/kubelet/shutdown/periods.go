// SPDX-License-Identifier: Apache-2.0

// Package shutdown ends the node's pods before its machine goes down: those of low priority first, each group within its period, and tells
// the node's status meanwhile. logind says when, and waits (https://systemd.io/INHIBITOR_LOCKS/); or whoever stops a node without logind.
package shutdown

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"eastwest/internal/kubelet/render"
)

// Period is how long pods of a priority, and of those up to the next Period's, may take to end.
type Period struct {
	Priority int32
	Grace    time.Duration
}

// Periods are in the order of their priorities. None means that pods are not ended before the machine.
type Periods []Period

// ParsePeriods reads a kubelet's shutdownGracePeriod, of which critical pods have the last part, or its shutdownGracePeriodByPodPriority as
// PRIORITY=DURATION.
func ParsePeriods(total, critical time.Duration, byPriority []string) (Periods, error) {
	if len(byPriority) > 0 {
		if total != 0 || critical != 0 {
			return nil, errors.New("give grace periods by priority, or one for all pods and one for critical ones, not both")
		}
		return parseEach(byPriority)
	}
	for _, d := range []time.Duration{total, critical} {
		if d != 0 && d < time.Second {
			return nil, fmt.Errorf("grace period %s: expected 0s, or 1s and more", d)
		}
	}
	if critical > total {
		return nil, fmt.Errorf("grace period of critical pods %s is part of that of all pods, and cannot be more than its %s", critical, total)
	}
	if total == 0 {
		return nil, nil
	}
	return Periods{{0, total - critical}, {render.SystemCritical, critical}}, nil
}

func parseEach(texts []string) (Periods, error) {
	var out Periods
	for _, text := range texts {
		priority, grace, ok := strings.Cut(text, "=")
		n, err := strconv.ParseInt(priority, 10, 32)
		d, durationErr := time.ParseDuration(grace)
		if !ok || err != nil || durationErr != nil || d < 0 {
			return nil, fmt.Errorf("grace period %q: expected PRIORITY=DURATION, 0=60s say", text)
		}
		if slices.ContainsFunc(out, func(p Period) bool { return p.Priority == int32(n) }) {
			return nil, fmt.Errorf("grace period %q: priority %d is there already", text, n)
		}
		out = append(out, Period{int32(n), d})
	}
	slices.SortFunc(out, func(a, b Period) int { return cmp.Compare(a.Priority, b.Priority) })
	return out, nil
}

// Total is how long all pods may take together.
func (p Periods) Total() time.Duration {
	total := time.Duration(0)
	for _, one := range p {
		total += one.Grace
	}
	return total
}

// group is the pods that end together.
type group struct {
	Period
	pods []*corev1.Pod
}

// groups sorts pods into the periods: those below the first belong to it as well.
func (p Periods) groups(pods []*corev1.Pod) []group {
	out := make([]group, len(p))
	for i := range p {
		out[i].Period = p[i]
	}
	for _, pod := range pods {
		at := 0
		for i := range p {
			if p[i].Priority <= render.Priority(pod) {
				at = i
			}
		}
		out[at].pods = append(out[at].pods, pod)
	}
	return slices.DeleteFunc(out, func(g group) bool { return len(g.pods) == 0 })
}

// grace is how many seconds a pod of the group may take: its own period, or the group's when that is less.
func (g group) grace(pod *corev1.Pod) int64 {
	grace := int64(g.Grace / time.Second)
	if own := pod.Spec.TerminationGracePeriodSeconds; own != nil {
		grace = min(grace, *own)
	}
	return grace
}
