// SPDX-License-Identifier: Apache-2.0

package shutdown

import (
	"reflect"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"eastwest/internal/kubelet/render"
)

func TestParsePeriods(t *testing.T) {
	for _, c := range []struct {
		total, critical time.Duration
		byPriority      []string
		want            Periods
		wrong           bool
	}{
		{},
		{total: 30 * time.Second, critical: 10 * time.Second, want: Periods{{0, 20 * time.Second}, {render.SystemCritical, 10 * time.Second}}},
		{total: 30 * time.Second, want: Periods{{0, 30 * time.Second}, {render.SystemCritical, 0}}},
		{byPriority: []string{"1000=1m", "-5=2s"}, want: Periods{{-5, 2 * time.Second}, {1000, time.Minute}}},
		{total: time.Second, critical: 2 * time.Second, wrong: true},
		{total: 10 * time.Millisecond, wrong: true},
		{total: -time.Second, wrong: true},
		{total: time.Second, byPriority: []string{"0=1s"}, wrong: true},
		{byPriority: []string{"0=1s", "0=2s"}, wrong: true},
		{byPriority: []string{"low=1s"}, wrong: true},
		{byPriority: []string{"0"}, wrong: true},
		{byPriority: []string{"0=-1s"}, wrong: true},
	} {
		got, err := ParsePeriods(c.total, c.critical, c.byPriority)
		if (err != nil) != c.wrong || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%v %v %v: got %v, %v", c.total, c.critical, c.byPriority, got, err)
		}
	}
}

// Pods belong to the period of the next lower priority, those below all to the first.
func TestGroups(t *testing.T) {
	pod := func(name string, priority *int32, grace int64) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PodSpec{Priority: priority, TerminationGracePeriodSeconds: &grace}}
	}
	n := func(n int32) *int32 { return &n }
	periods := Periods{{10, 20 * time.Second}, {100, 5 * time.Second}, {1000, time.Second}, {render.SystemCritical, time.Second}}
	got := map[string]int32{}
	grace := map[string]int64{}
	last := int32(-1)
	for _, g := range periods.groups([]*corev1.Pod{
		pod("critical", n(render.SystemCritical+1000), 30), pod("none", nil, 30), pod("ten", n(10), 7), pod("ninety-nine", n(99), 30), pod("hundred", n(100), 30)}) {
		if g.Priority <= last {
			t.Errorf("priority %d comes after %d", g.Priority, last)
		}
		last = g.Priority
		for _, p := range g.pods {
			got[p.Name], grace[p.Name] = g.Priority, g.grace(p)
		}
	}
	if want := map[string]int32{"none": 10, "ten": 10, "ninety-nine": 10, "hundred": 100, "critical": render.SystemCritical}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if want := map[string]int64{"none": 20, "ten": 7, "ninety-nine": 20, "hundred": 5, "critical": 1}; !reflect.DeepEqual(grace, want) {
		t.Errorf("grace %v, want %v", grace, want)
	}
}
