// SPDX-License-Identifier: Apache-2.0

// Package eviction keeps a node usable that runs out of memory, disk or process ids: it decides which pods end, in Kubernetes'
// order, and what the node says of itself. It also ends pods that use more local storage than they may.
//
//	thresholds, readings ─▶ breaches ─▶ reclaim ─▶ rank ─▶ evict the first
package eviction

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// Signal is what is looked at, by Kubernetes' name.
type Signal string

// Signals, in the order in which their breaches are seen to.
const (
	MemoryAvailable  Signal = "memory.available"
	NodefsAvailable  Signal = "nodefs.available"
	NodefsInodesFree Signal = "nodefs.inodesFree"
	PIDAvailable     Signal = "pid.available"
)

var signals = []Signal{MemoryAvailable, NodefsAvailable, NodefsInodesFree, PIDAvailable}

// condition is what the node says of itself, and resource what pods use too much of.
func (s Signal) condition() corev1.NodeConditionType {
	switch s {
	case MemoryAvailable:
		return corev1.NodeMemoryPressure
	case PIDAvailable:
		return corev1.NodePIDPressure
	}
	return corev1.NodeDiskPressure
}

func (s Signal) resource() corev1.ResourceName {
	switch s {
	case MemoryAvailable:
		return corev1.ResourceMemory
	case NodefsInodesFree:
		return "inodes"
	case PIDAvailable:
		return "pids"
	}
	return corev1.ResourceEphemeralStorage
}

// Reading is what there is of something, and how much of it is free.
type Reading struct{ Available, Capacity int64 }

// Threshold is the least that has to be free.
type Threshold struct {
	Signal   Signal
	Quantity int64   // absolute, or
	Fraction float64 // of the capacity
	// Soft ones act when they were met for Patience, and leave pods time to end.
	Soft     bool
	Patience time.Duration
}

func (t Threshold) least(capacity int64) int64 {
	if t.Fraction > 0 {
		return int64(t.Fraction * float64(capacity))
	}
	return t.Quantity
}

// ParseThresholds reads what --eviction-hard of a kubelet takes: "memory.available<100Mi,nodefs.available<2%".
func ParseThresholds(text string) ([]Threshold, error) {
	var list []Threshold
	for _, part := range strings.Split(text, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		name, value, ok := strings.Cut(part, "<")
		if !ok || !slices.Contains(signals, Signal(name)) {
			return nil, fmt.Errorf("eviction threshold %q: expected SIGNAL<QUANTITY with one of the signals %v", part, signals)
		}
		t, err := parseValue(value)
		if err != nil {
			return nil, fmt.Errorf("eviction threshold %q: %w", part, err)
		}
		t.Signal = Signal(name)
		list = append(list, t)
	}
	return list, nil
}

// ParseSoft reads what --eviction-soft and --eviction-soft-grace-period of a kubelet take, the latter as "memory.available=1m30s".
// Each threshold needs its period.
func ParseSoft(text, periods string) ([]Threshold, error) {
	list, err := ParseThresholds(text)
	if err != nil {
		return nil, err
	}
	given := map[Signal]time.Duration{}
	for _, part := range strings.Split(periods, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		name, value, ok := strings.Cut(part, "=")
		d, err := time.ParseDuration(value)
		if !ok || err != nil || d < 0 || !slices.Contains(signals, Signal(name)) {
			return nil, fmt.Errorf("grace period %q of soft eviction: expected SIGNAL=DURATION with one of the signals %v", part, signals)
		}
		given[Signal(name)] = d
	}
	for i := range list {
		d, ok := given[list[i].Signal]
		if !ok {
			return nil, fmt.Errorf("grace period must be specified for the soft eviction threshold %s", list[i].Signal)
		}
		list[i].Soft, list[i].Patience = true, d
	}
	return list, nil
}

func parseValue(value string) (Threshold, error) {
	if percent, ok := strings.CutSuffix(value, "%"); ok {
		n, err := strconv.ParseFloat(percent, 64)
		if err != nil || n < 0 || n > 100 {
			return Threshold{}, fmt.Errorf("%s is no percentage from 0%% to 100%%", value)
		}
		return Threshold{Fraction: n / 100}, nil
	}
	q, err := resource.ParseQuantity(value)
	if err != nil || q.Sign() < 0 {
		return Threshold{}, fmt.Errorf("%s is no quantity, as 100Mi is", value)
	}
	return Threshold{Quantity: q.Value()}, nil
}

// breach is a threshold that is met.
type breach struct {
	signal           Signal
	least, available int64
	soft             bool
	patience         time.Duration
}

// breaches lists what is short, in the order of signals, hard thresholds first. What could not be read is not short.
func breaches(thresholds []Threshold, readings map[Signal]Reading) []breach {
	var list []breach
	for _, s := range signals {
		for _, soft := range []bool{false, true} {
			for _, t := range thresholds {
				r, known := readings[s]
				if t.Signal == s && t.Soft == soft && known && r.Capacity > 0 && r.Available < t.least(r.Capacity) {
					list = append(list, breach{s, t.least(r.Capacity), r.Available, t.Soft, t.Patience})
				}
			}
		}
	}
	return list
}

// waiting is since when soft thresholds have been met without a break.
type waiting map[Signal]time.Time

// due keeps the breaches that have lasted as long as they may.
func (w waiting) due(list []breach, now time.Time) []breach {
	met := map[Signal]bool{}
	var out []breach
	for _, b := range list {
		if !b.soft {
			out = append(out, b)
			continue
		}
		met[b.signal] = true
		if _, known := w[b.signal]; !known {
			w[b.signal] = now
		}
		if now.Sub(w[b.signal]) >= b.patience {
			out = append(out, b)
		}
	}
	maps.DeleteFunc(w, func(s Signal, _ time.Time) bool { return !met[s] })
	return out
}

// pressure is what the node says of itself. A condition is kept for a while after its cause has gone, so that it does not flap.
type pressure map[corev1.NodeConditionType]time.Time

func (p pressure) see(list []breach, now time.Time) {
	for _, b := range list {
		p[b.signal.condition()] = now
	}
}

func (p pressure) has(kind corev1.NodeConditionType, now time.Time, keep time.Duration) bool {
	last, ever := p[kind]
	return ever && now.Sub(last) <= keep
}
