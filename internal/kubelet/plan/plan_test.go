// SPDX-License-Identifier: Apache-2.0

package plan

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"pgregory.net/rapid"

	"eastwest/internal/kubelet/podstate"
)

// answers are probes that say the same of every container, or of those named.
type answers struct {
	unstarted map[string]bool
	failed    map[string]string
}

func (a answers) Started(id string) bool  { return !a.unstarted[id] }
func (a answers) Failed(id string) string { return a.failed[id] }

const (
	up   = runtimeapi.ContainerState_CONTAINER_RUNNING
	down = runtimeapi.ContainerState_CONTAINER_EXITED
)

func podOf(policy corev1.RestartPolicy, inits, names []string) *corev1.Pod {
	p := &corev1.Pod{Spec: corev1.PodSpec{RestartPolicy: policy}}
	always := corev1.ContainerRestartPolicyAlways
	for _, n := range inits {
		c := corev1.Container{Name: n}
		if n[0] == 's' {
			c.RestartPolicy = &always
		}
		p.Spec.InitContainers = append(p.Spec.InitContainers, c)
	}
	for _, n := range names {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: n})
	}
	return p
}

func has(name string, state runtimeapi.ContainerState, code int32) podstate.Container {
	return podstate.Container{ID: name + "-id", SandboxID: "box", Name: name, State: state, ExitCode: code,
		Hash: podstate.Hash(&corev1.Container{Name: name})}
}

func stateOf(ready bool, containers ...podstate.Container) *podstate.State {
	return &podstate.State{Sandboxes: []podstate.Sandbox{{ID: "box", Attempt: 2, Ready: ready}}, Containers: containers}
}

func TestNext(t *testing.T) {
	always, onFailure, never := corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever
	type want struct {
		Finish, NewSandbox bool
		Kill, Start        []string
	}
	for _, c := range []struct {
		name   string
		pod    *corev1.Pod
		state  *podstate.State
		probes answers
		want   want
	}{
		{"nothing yet", podOf(always, nil, []string{"a", "b"}), &podstate.State{}, answers{}, want{NewSandbox: true, Start: []string{"a", "b"}}},
		{"all run", podOf(always, nil, []string{"a"}), stateOf(true, has("a", up, 0)), answers{}, want{}},
		{"ended, always", podOf(always, nil, []string{"a"}), stateOf(true, has("a", down, 0)), answers{}, want{Start: []string{"a"}}},
		{"succeeded, on failure", podOf(onFailure, nil, []string{"a"}), stateOf(true, has("a", down, 0)), answers{}, want{Finish: true}},
		{"failed, on failure", podOf(onFailure, nil, []string{"a"}), stateOf(true, has("a", down, 1)), answers{}, want{Start: []string{"a"}}},
		{"failed, never", podOf(never, nil, []string{"a", "b"}), stateOf(true, has("a", down, 1), has("b", up, 0)), answers{}, want{}},
		{"sandbox lost", podOf(always, nil, []string{"a"}), stateOf(false, has("a", up, 0)), answers{},
			want{NewSandbox: true, Kill: []string{"a"}, Start: []string{"a"}}},
		{"sandbox lost after success", podOf(never, nil, []string{"a"}), stateOf(false, has("a", down, 0)), answers{}, want{Finish: true}},
		{"init first", podOf(always, []string{"i", "j"}, []string{"a"}), stateOf(true), answers{}, want{Start: []string{"i"}}},
		{"init runs", podOf(always, []string{"i", "j"}, []string{"a"}), stateOf(true, has("i", up, 0)), answers{}, want{}},
		{"second init", podOf(always, []string{"i", "j"}, []string{"a"}), stateOf(true, has("i", down, 0)), answers{}, want{Start: []string{"j"}}},
		{"init failed, always", podOf(always, []string{"i"}, []string{"a"}), stateOf(true, has("i", down, 1)), answers{}, want{Start: []string{"i"}}},
		{"init failed, never", podOf(never, []string{"i"}, []string{"a"}), stateOf(true, has("i", down, 1)), answers{}, want{Finish: true}},
		{"initialized", podOf(always, []string{"i"}, []string{"a"}), stateOf(true, has("i", down, 0)), answers{}, want{Start: []string{"a"}}},
		{"sidecar has not started", podOf(always, []string{"s"}, []string{"a"}), stateOf(true, has("s", up, 0)),
			answers{unstarted: map[string]bool{"s-id": true}}, want{}},
		{"sidecar has started", podOf(always, []string{"s"}, []string{"a"}), stateOf(true, has("s", up, 0)), answers{}, want{Start: []string{"a"}}},
		{"sidecar ended", podOf(always, []string{"s"}, []string{"a"}), stateOf(true, has("s", down, 0), has("a", up, 0)), answers{}, want{Start: []string{"s"}}},
		{"sidecar outlives the work", podOf(never, []string{"s"}, []string{"a"}), stateOf(true, has("s", up, 0), has("a", down, 0)), answers{}, want{Finish: true}},
		{"not alive", podOf(always, nil, []string{"a"}), stateOf(true, has("a", up, 0)), answers{failed: map[string]string{"a-id": "liveness"}},
			want{Kill: []string{"a"}, Start: []string{"a"}}},
		{"not alive, never", podOf(never, nil, []string{"a"}), stateOf(true, has("a", up, 0)), answers{failed: map[string]string{"a-id": "liveness"}},
			want{Kill: []string{"a"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := Next(c.pod, c.state, c.probes)
			got := want{Finish: s.Finish, NewSandbox: s.NewSandbox, Start: s.Start}
			for _, k := range s.Kill {
				got.Kill = append(got.Kill, k.Container.Name)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("steps differ (-want +got):\n%s", diff)
			}
		})
	}
}

// Carrying out the steps and letting every container run leads to a state with nothing left to do, and never starts a container that runs.
func TestNextSettles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		pod := podOf(corev1.RestartPolicyAlways, rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"i1", "i2", "s1", "s2"}), 0, 4, rapid.ID[string]).Draw(t, "inits"),
			rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"a", "b", "c"}), 1, 3, rapid.ID[string]).Draw(t, "containers"))
		state := &podstate.State{}
		for range 50 {
			steps := Next(pod, state, answers{})
			if steps.Empty() {
				return
			}
			if steps.NewSandbox {
				state = stateOf(true, state.Containers...)
				steps = Next(pod, state, answers{})
			}
			for _, name := range steps.Start {
				if c := state.Latest(name); c != nil && c.Running() {
					t.Fatalf("%s is started though it runs", name)
				}
				made := has(name, up, 0)
				if name[0] == 'i' {
					made.State = down
				}
				state.Containers = append([]podstate.Container{made}, state.Containers...)
			}
		}
		t.Fatal("the pod never settles")
	})
}
