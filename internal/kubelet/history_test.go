// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
)

func TestPodLivesAndDies(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.create(newPod("web", nil))
	p := w.ready("web")
	if p.Status.Phase != corev1.PodRunning || p.Status.PodIP == "" || p.Status.HostIP != "192.0.2.1" {
		t.Errorf("phase %s, pod IP %q, host IP %q", p.Status.Phase, p.Status.PodIP, p.Status.HostIP)
	}
	dir := filepath.Join(w.config.RootDir, "pods", string(p.UID), "volumes", "kubernetes.io~projected", "token")
	got := map[string]string{}
	for _, name := range []string{"token", "ca.crt", "namespace"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
		}
		got[name] = string(data)
	}
	if diff := cmp.Diff(map[string]string{"token": "token-1", "ca.crt": "a certificate", "namespace": "default"}, got); diff != "" {
		t.Errorf("the service account volume differs (-want +got):\n%s", diff)
	}
	w.eventually("the start is told as events", func() bool {
		e := w.api.Events("web")
		return len(e["Created"]) == 1 && len(e["Started"]) == 1 && len(e["Pulled"]) == 1
	})
	if n := w.cri.Calls("StartContainer"); n != 1 {
		t.Errorf("the container was started %d times", n)
	}
	w.delete("web")
	w.gone("web")
	if sandboxes, containers := w.cri.Count(); sandboxes+containers != 0 {
		t.Errorf("%d sandboxes and %d containers are left", sandboxes, containers)
	}
	if _, err := os.Stat(filepath.Join(w.config.RootDir, "pods", string(p.UID))); !os.IsNotExist(err) {
		t.Errorf("the pod's directory is left: %v", err)
	}
}

func TestNodeRegistersAndComesBack(t *testing.T) {
	w := newWorld(t)
	w.cri.SetNetwork(false)
	w.start()
	node := func() *corev1.Node { n, _ := w.api.Get("nodes", "", "n1").(*corev1.Node); return n }
	w.eventually("the node is there and not ready", func() bool {
		n := node()
		if n == nil {
			return false
		}
		for _, c := range n.Status.Conditions {
			if c.Type == corev1.NodeReady {
				return c.Status == corev1.ConditionFalse && c.Reason == "KubeletNotReady"
			}
		}
		return false
	})
	w.cri.SetNetwork(true)
	isReady := func() bool {
		n := node()
		return n != nil && n.Status.Conditions[len(n.Status.Conditions)-1].Status == corev1.ConditionTrue
	}
	w.eventually("the node is ready", isReady)
	w.eventually("the node has a lease", func() bool { return w.api.Get("leases", "kube-node-lease", "n1") != nil })
	w.api.Drop("nodes", "", "n1")
	w.eventually("the node is registered again", isReady)
}

// A node that was ready stays so while a new kubelet and the runtime beside it start.
func TestNodeStaysReadyOverARestart(t *testing.T) {
	w := newWorld(t)
	ready := func() (c corev1.NodeCondition) {
		if n, ok := w.api.Get("nodes", "", "n1").(*corev1.Node); ok && len(n.Status.Conditions) > 0 {
			c = n.Status.Conditions[len(n.Status.Conditions)-1]
		}
		return c
	}
	w.start()
	w.eventually("the node is ready", func() bool { return ready().Status == corev1.ConditionTrue })
	before := ready()
	w.stop()
	// Times in the API are whole seconds.
	time.Sleep(time.Until(before.LastTransitionTime.Add(1100 * time.Millisecond)))
	w.cri.SetNetwork(false)
	asked := w.cri.Calls("Status")
	w.start()
	w.eventually("the runtime was asked", func() bool { return w.cri.Calls("Status") > asked+2 })
	if c := ready(); c.Status != corev1.ConditionTrue {
		t.Errorf("while the runtime starts the node says %s: %s", c.Reason, c.Message)
	}
	w.cri.SetNetwork(true)
	w.eventually("the new kubelet reported", func() bool { return ready().LastHeartbeatTime.After(before.LastHeartbeatTime.Time) })
	if c := ready(); c.Status != corev1.ConditionTrue || !c.LastTransitionTime.Equal(&before.LastTransitionTime) {
		t.Errorf("the node became ready again at %v, it was since %v", c.LastTransitionTime, before.LastTransitionTime)
	}
}

func TestCrashLoop(t *testing.T) {
	w := newWorld(t)
	w.cri.OnStart = func(id, name string) { go func() { _ = w.cri.Exit("bad", name, 3, "Error") }() }
	w.start()
	w.create(newPod("bad", nil))
	p := w.until("bad", "in CrashLoopBackOff", func(p *corev1.Pod) bool { return waitingFor(p, "CrashLoopBackOff") })
	s := p.Status.ContainerStatuses[0]
	if s.LastTerminationState.Terminated == nil || s.LastTerminationState.Terminated.ExitCode != 3 || p.Status.Phase != corev1.PodRunning {
		t.Errorf("phase %s, status %+v", p.Status.Phase, s)
	}
	w.delete("bad")
	w.gone("bad")
}

func TestCompletedPodSucceeds(t *testing.T) {
	for _, c := range []struct {
		name   string
		code   int32
		policy corev1.RestartPolicy
		phase  corev1.PodPhase
	}{
		{"success-never", 0, corev1.RestartPolicyNever, corev1.PodSucceeded},
		{"failure-never", 1, corev1.RestartPolicyNever, corev1.PodFailed},
		{"success-onfailure", 0, corev1.RestartPolicyOnFailure, corev1.PodSucceeded},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			w.cri.OnStart = func(id, name string) { go func() { _ = w.cri.Exit("job", name, c.code, "") }() }
			w.start()
			w.create(newPod("job", func(p *corev1.Pod) { p.Spec.RestartPolicy = c.policy }))
			p := w.until("job", "over", func(p *corev1.Pod) bool { return p.Status.Phase == c.phase })
			if got := p.Status.ContainerStatuses[0].State.Terminated; got == nil || got.ExitCode != c.code {
				t.Errorf("container state %+v", p.Status.ContainerStatuses[0].State)
			}
			w.delete("job")
			w.gone("job")
		})
	}
}

func TestMissingImage(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.create(newPod("noimage", func(p *corev1.Pod) { p.Spec.Containers[0].Image = "absent:1" }))
	w.until("noimage", "in ErrImagePull", func(p *corev1.Pod) bool { return waitingFor(p, "ErrImagePull") })
	p := w.until("noimage", "in ImagePullBackOff", func(p *corev1.Pod) bool { return waitingFor(p, "ImagePullBackOff") })
	want := `Back-off pulling image "absent:1": ErrImagePull: rpc error: code = NotFound desc = failed to resolve image "absent:1": not found`
	if got := p.Status.ContainerStatuses[0].State.Waiting.Message; got != want {
		t.Errorf("the container waits with %q, want %q", got, want)
	}
	w.eventually("the events tell each step", func() bool {
		e := w.api.Events("noimage")
		return slices.Contains(e["Pulling"], `Pulling image "absent:1"`) && slices.Contains(e["BackOff"], `Back-off pulling image "absent:1"`) &&
			slices.Contains(e["Failed"], "Error: ErrImagePull") && slices.Contains(e["Failed"], "Error: ImagePullBackOff") &&
			slices.Contains(e["Failed"], `Failed to pull image "absent:1": rpc error: code = NotFound desc = failed to resolve image "absent:1": not found`)
	})
	w.create(newPod("never", func(p *corev1.Pod) {
		p.Spec.Containers[0].Image, p.Spec.Containers[0].ImagePullPolicy = "absent:1", corev1.PullNever
	}))
	w.until("never", "in ErrImageNeverPull", func(p *corev1.Pod) bool { return waitingFor(p, "ErrImageNeverPull") })
	w.create(newPod("good", nil))
	w.ready("good")
}

// Why an image is not there is said in Kubernetes' words: a registry that is away, a name that is none, and a pull that worked.
func TestReasonsOfPulls(t *testing.T) {
	w := newWorld(t)
	var up atomic.Bool
	w.cri.SetFail(func(_ context.Context, call string) error {
		if call == "PullImage" && !up.Load() {
			return status.Error(codes.Unknown, "RegistryUnavailable: dial tcp 192.0.2.9:443: connection refused")
		}
		return nil
	})
	w.start()
	w.create(newPod("away", func(p *corev1.Pod) { p.Spec.Containers[0].ImagePullPolicy = corev1.PullAlways }))
	p := w.until("away", "in RegistryUnavailable", func(p *corev1.Pod) bool { return waitingFor(p, "RegistryUnavailable") })
	want := "image pull failed for app:1 because the registry is unavailable: dial tcp 192.0.2.9:443: connection refused"
	if got := p.Status.ContainerStatuses[0].State.Waiting.Message; got != want {
		t.Errorf("the container waits with %q, want %q", got, want)
	}
	w.eventually("the reason is an event", func() bool { return slices.Contains(w.api.Events("away")["Failed"], "Error: RegistryUnavailable") })
	w.create(newPod("wrong", func(p *corev1.Pod) { p.Spec.Containers[0].Image = "Upper/Case" }))
	w.until("wrong", "in InvalidImageName", func(p *corev1.Pod) bool { return waitingFor(p, "InvalidImageName") })
	up.Store(true)
	w.create(newPod("pulled", func(p *corev1.Pod) { p.Spec.Containers[0].ImagePullPolicy = corev1.PullAlways }))
	w.ready("pulled")
	success := regexp.MustCompile(`^Successfully pulled image "app:1" in \S+ \(\S+ including waiting\)\. Image size: 1 bytes\.$`)
	w.eventually("the pull is an event", func() bool { return slices.ContainsFunc(w.api.Events("pulled")["Pulled"], success.MatchString) })
}

// A runtime whose socket is gone is waited for: what ran is not touched, the node says so, and what was asked for meanwhile starts.
func TestRuntimeGoesAndComesBack(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.create(newPod("before", nil))
	id := w.ready("before").Status.ContainerStatuses[0].ContainerID
	w.cri.Stop()
	w.create(newPod("meanwhile", nil))
	w.eventually("the node is not ready", func() bool {
		n, _ := w.api.Get("nodes", "", "n1").(*corev1.Node)
		for _, c := range n.Status.Conditions {
			if c.Type == corev1.NodeReady {
				return c.Status == corev1.ConditionFalse && strings.Contains(c.Message, "runtime")
			}
		}
		return false
	})
	if err := w.cri.Serve(strings.TrimPrefix(w.config.RuntimeEndpoint, "unix://")); err != nil {
		t.Fatal(err)
	}
	w.ready("meanwhile")
	if now := w.ready("before").Status.ContainerStatuses[0].ContainerID; now != id || w.cri.Calls("StartContainer") != 2 {
		t.Errorf("container %s became %s; %d starts in all, want 2", id, now, w.cri.Calls("StartContainer"))
	}
	for _, name := range []string{"before", "meanwhile"} {
		w.delete(name)
		w.gone(name)
	}
}

// A pod that is deleted while its container is being started ends as it would have a moment later.
func TestDeletionWaitsForAStart(t *testing.T) {
	w := newWorld(t)
	begun, release := make(chan struct{}), make(chan struct{})
	w.cri.SetFail(func(ctx context.Context, call string) error {
		if call != "StartContainer" {
			return nil
		}
		close(begun)
		select {
		case <-ctx.Done():
			t.Error("the start was given up")
		case <-release:
		}
		return nil
	})
	w.start()
	w.create(newPod("web", nil))
	<-begun
	w.delete("web")
	time.Sleep(50 * time.Millisecond) // for the kubelet to see it; later is no mistake
	close(release)
	w.gone("web")
	if n := w.cri.Calls("StopContainer"); n != 1 {
		t.Errorf("the container was stopped %d times, want once", n)
	}
}

// A pod whose sandbox hangs can be deleted, and the others go on.
func TestSandboxThatHangs(t *testing.T) {
	w := newWorld(t)
	var first atomic.Bool
	w.cri.SetFail(func(ctx context.Context, call string) error {
		if call == "RunPodSandbox" && first.CompareAndSwap(false, true) {
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	})
	w.start()
	w.create(newPod("hangs", nil))
	w.eventually("the runtime is asked", first.Load)
	w.create(newPod("other", nil))
	w.ready("other")
	w.delete("hangs")
	w.gone("hangs")
	if sandboxes, _ := w.cri.Count(); sandboxes != 1 {
		t.Errorf("%d sandboxes, want that of the other pod", sandboxes)
	}
}

// A pod whose first sandbox failed runs at the second try, and then the runtime is left alone: the time until which the pod
// was held back has passed, and must not be taken for one that is due again and again.
func TestRuntimeIsLeftAloneAfterAFailure(t *testing.T) {
	w := newWorld(t)
	w.cri.SetFail(func(_ context.Context, call string) error {
		if call == "RunPodSandbox" && w.cri.Calls("RunPodSandbox") <= 1 {
			return errors.New("the network is not ready")
		}
		return nil
	})
	w.start()
	w.create(newPod("late", nil))
	w.ready("late")
	if n := w.cri.Calls("RunPodSandbox"); n != 2 {
		t.Errorf("%d sandboxes were tried, want 2", n)
	}
	before := w.cri.Calls("ListPodSandbox")
	time.Sleep(time.Second)
	if n := w.cri.Calls("ListPodSandbox") - before; n > 20 {
		t.Errorf("the kubelet looked %d times in a second in which nothing happened", n)
	}
}

func TestRestartOfTheKubeletStartsNothingTwice(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.create(newPod("web", nil))
	before := w.ready("web")
	ids := w.cri.Running("main")
	w.restart()
	w.create(newPod("second", nil))
	w.ready("second")
	after := w.ready("web")
	if diff := cmp.Diff(before.Status.ContainerStatuses[0].ContainerID, after.Status.ContainerStatuses[0].ContainerID); diff != "" {
		t.Errorf("the container changed: %s", diff)
	}
	if still := w.cri.Running("main"); len(ids) != 1 || len(still) != 2 {
		t.Errorf("running before %v, after %v", ids, still)
	}
	if n := w.cri.Calls("RunPodSandbox"); n != 2 {
		t.Errorf("%d sandboxes were made for 2 pods", n)
	}
}

// A runtime that does not say its name at first has nothing reported of its containers under another one.
func TestContainerIDsNameTheRuntime(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.create(newPod("web", nil))
	before := w.ready("web")
	w.stop()
	asked := w.cri.Calls("Version")
	w.cri.SetFail(func(_ context.Context, call string) error {
		if call == "Version" && w.cri.Calls("Version") <= asked+5 {
			return errors.New("still starting")
		}
		return nil
	})
	w.start()
	w.create(newPod("second", nil))
	second, after := w.ready("second"), w.ready("web")
	if !strings.HasPrefix(second.Status.ContainerStatuses[0].ContainerID, "double://") {
		t.Errorf("the id of a container is %s", second.Status.ContainerStatuses[0].ContainerID)
	}
	if diff := cmp.Diff(before.Status.ContainerStatuses[0].ContainerID, after.Status.ContainerStatuses[0].ContainerID); diff != "" {
		t.Errorf("the container changed: %s", diff)
	}
}

func TestOrphanIsRemoved(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.create(newPod("web", nil))
	w.ready("web")
	w.stop()
	w.api.Drop("pods", "default", "web")
	w.start()
	w.eventually("nothing is left in the runtime", func() bool { s, c := w.cri.Count(); return s+c == 0 })
}

func TestSameNameAgain(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.create(newPod("db-0", nil))
	first := w.ready("db-0")
	w.api.Drop("pods", "default", "db-0")
	w.create(newPod("db-0", nil))
	second := w.until("db-0", "ready again", func(p *corev1.Pod) bool { return p.UID != first.UID && isPodReady(p) })
	w.eventually("only the second runs", func() bool { return len(w.cri.Running("main")) == 1 })
	if second.Status.ContainerStatuses[0].ContainerID == first.Status.ContainerStatuses[0].ContainerID {
		t.Error("the second pod shows the container of the first")
	}
}
