// SPDX-License-Identifier: Apache-2.0

package eviction

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"eastwest/internal/kubelet/render"
)

func TestThresholds(t *testing.T) {
	list, err := ParseThresholds("pid.available<5%, memory.available<100Mi,nodefs.available<10%")
	if err != nil || len(list) != 3 {
		t.Fatalf("%v: %v", list, err)
	}
	readings := map[Signal]Reading{
		MemoryAvailable: {Available: 50 << 20, Capacity: 1 << 30}, NodefsAvailable: {Available: 10, Capacity: 100},
		PIDAvailable: {Available: 4, Capacity: 100},
	}
	found := breaches(list, readings)
	if len(found) != 2 || found[0] != (breach{signal: MemoryAvailable, least: 100 << 20, available: 50 << 20}) || found[1] != (breach{signal: PIDAvailable, least: 5, available: 4}) {
		t.Errorf("found %+v", found)
	}
	for _, wrong := range []string{"memory.available", "memory<1Mi", "memory.available<x", "nodefs.available<101%", "memory.available<-1"} {
		if _, err := ParseThresholds(wrong); err == nil {
			t.Errorf("%q was taken", wrong)
		}
	}
}

func pod(name string, priority int32, request string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name)}, Spec: corev1.PodSpec{Priority: &priority}}
	c := corev1.Container{Name: "c"}
	if request != "" {
		c.Resources.Requests = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(request)}
	}
	p.Spec.Containers = []corev1.Container{c}
	return p
}

func TestPodsThatGoFirst(t *testing.T) {
	list := []candidate{
		{pod("modest", 0, "1Gi"), Usage{Pod: 900 << 20}},
		{pod("important", 100, ""), Usage{Pod: 2 << 30}},
		{pod("over", 0, "100Mi"), Usage{Pod: 200 << 20}},
		{pod("far over", 0, "100Mi"), Usage{Pod: 300 << 20}},
	}
	rank(list, corev1.ResourceMemory)
	var order []string
	for _, c := range list {
		order = append(order, c.pod.Name)
	}
	if got := strings.Join(order, ", "); got != "far over, over, important, modest" {
		t.Error(got)
	}
	b := breach{signal: MemoryAvailable, least: 100 << 20, available: 50<<20 + 1}
	c := candidate{pod("p", 0, "10Mi"), Usage{Containers: map[string]int64{"c": 20 << 20}}}
	want := "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. Container c was using 20Mi, request is 10Mi, has larger consumption of memory. "
	if got := b.message(c); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestNodeUnderPressureRefuses(t *testing.T) {
	tolerant := pod("tolerant", 0, "")
	tolerant.Spec.Tolerations = []corev1.Toleration{{Key: corev1.TaintNodeMemoryPressure, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule}}
	memory, disk := []corev1.NodeConditionType{corev1.NodeMemoryPressure}, []corev1.NodeConditionType{corev1.NodeDiskPressure}
	for _, test := range []struct {
		pod        *corev1.Pod
		bestEffort bool
		conditions []corev1.NodeConditionType
		refused    bool
	}{
		{pod("p", 0, ""), true, nil, false},
		{pod("p", 0, ""), true, memory, true},
		{pod("p", 0, "1Mi"), false, memory, false},
		{tolerant, true, memory, false},
		{tolerant, true, disk, true},
		{pod("p", 0, "1Mi"), false, disk, true},
		{pod("p", render.SystemCritical, ""), true, append(disk, memory...), false},
	} {
		if got := admit(test.pod, test.bestEffort, test.conditions); (got != "") != test.refused {
			t.Errorf("%s under %v: %q", test.pod.Name, test.conditions, got)
		}
	}
}

func TestLocalStorageHasLimits(t *testing.T) {
	limit, volume := resource.MustParse("1Mi"), resource.MustParse("2Mi")
	p := pod("p", 0, "")
	if limited(p) {
		t.Error("a pod without limits has some")
	}
	p.Spec.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceEphemeralStorage: limit}
	p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: &volume}}}}
	for _, test := range []struct {
		usage Usage
		dir   int64
		want  string
	}{
		{Usage{Pod: 1 << 20, Containers: map[string]int64{"c": 1 << 20}}, 1 << 20, ""},
		{Usage{}, 3 << 20, `Usage of EmptyDir volume "v" exceeds the limit "2Mi". `},
		{Usage{Containers: map[string]int64{"c": 2 << 20}}, 0, `Container c exceeded its local ephemeral storage limit "1Mi". `},
		{Usage{Pod: 2 << 20}, 0, "Pod ephemeral local storage usage exceeds the total limit of containers 1Mi. "},
	} {
		if got := overLimit(p, test.usage, func(string) int64 { return test.dir }); got != test.want || !limited(p) {
			t.Errorf("%+v: %q, want %q", test.usage, got, test.want)
		}
	}
}

func TestSizeOfAFolder(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a"), make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(filepath.Join(dir, "a"), filepath.Join(dir, "b")); err != nil {
		t.Fatal(err)
	}
	if bytes, inodes := Size(dir); bytes < 1<<20 || bytes >= 2<<20 || inodes != 2 {
		t.Errorf("%d bytes, %d inodes", bytes, inodes)
	}
	if bytes, inodes := Size(filepath.Join(dir, "none")); bytes != 0 || inodes != 0 {
		t.Errorf("a folder that is not there: %d bytes, %d inodes", bytes, inodes)
	}
}

// One pod at a time, and none when what nobody needs was enough.
func TestReliefBeginsWithWhatNobodyNeeds(t *testing.T) {
	free, evicted := int64(5), []string{}
	config := Config{
		Thresholds: []Threshold{{Signal: NodefsAvailable, Quantity: 10}}, Period: time.Hour, Keep: time.Hour,
		Observe: func() map[Signal]Reading { return map[Signal]Reading{NodefsAvailable: {free, 100}} },
		Pods: func() []*corev1.Pod {
			return []*corev1.Pod{pod("a", 1, ""), pod("b", 0, ""), pod("c", render.SystemCritical, "")}
		},
		Usage:   func(context.Context, corev1.ResourceName, []*corev1.Pod) map[types.UID]Usage { return nil },
		Reclaim: func(context.Context) { free = 20 },
		Evict:   func(p *corev1.Pod, _ string, _ time.Duration) { evicted = append(evicted, p.Name) },
		Log:     slog.New(slog.DiscardHandler),
	}
	m := New(config)
	if !m.Under(corev1.NodeDiskPressure) || m.Under(corev1.NodeMemoryPressure) {
		t.Error("the node does not say what it lacks")
	}
	m.relieve(t.Context())
	if len(evicted) != 0 || !m.Under(corev1.NodeDiskPressure) {
		t.Errorf("evicted %v; and the condition is to stay for a while", evicted)
	}
	config.Reclaim = func(context.Context) {}
	free = 5
	New(config).relieve(t.Context())
	if len(evicted) != 1 || evicted[0] != "b" {
		t.Errorf("evicted %v, want b alone", evicted)
	}
}

// A soft threshold acts when it was met for its period without a break, and then leaves pods time; a hard one acts at once.
func TestSoftThresholds(t *testing.T) {
	list, err := ParseSoft("memory.available<200Mi,nodefs.available<20%", "nodefs.available=1h, memory.available=1m30s")
	if err != nil || len(list) != 2 || list[0].Patience != 90*time.Second || !list[1].Soft {
		t.Fatalf("%+v: %v", list, err)
	}
	for _, wrong := range [][2]string{{"memory.available<1Mi", ""}, {"memory.available<1Mi", "memory.available=x"}, {"pid.available<1", "memory=1m"}} {
		if _, err := ParseSoft(wrong[0], wrong[1]); err == nil {
			t.Errorf("%q with %q was taken", wrong[0], wrong[1])
		}
	}
	hard := Threshold{Signal: MemoryAvailable, Quantity: 100 << 20}
	short := func(available int64) []breach {
		return breaches(append(list, hard), map[Signal]Reading{MemoryAvailable: {available, 1 << 30}})
	}
	w, begin := waiting{}, time.Unix(1000, 0)
	for _, step := range []struct {
		at        time.Duration
		available int64
		want      []bool // soft, of each that is due
	}{
		{0, 150 << 20, nil},
		{60 * time.Second, 150 << 20, nil},
		{70 * time.Second, 300 << 20, nil}, // a break
		{100 * time.Second, 150 << 20, nil},
		{150 * time.Second, 50 << 20, []bool{false}},
		{190 * time.Second, 150 << 20, []bool{true}},
	} {
		var got []bool
		for _, b := range w.due(short(step.available), begin.Add(step.at)) {
			got = append(got, b.soft)
		}
		if !slices.Equal(got, step.want) {
			t.Errorf("after %s: soft %v, want %v", step.at, got, step.want)
		}
	}
}
