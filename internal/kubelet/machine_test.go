// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"eastwest/internal/kubelet/loginddouble"
	"eastwest/internal/kubelet/shutdown"
)

// stops records who was told to stop, in which order and with which period, and holds back those that a test does not let go.
type stops struct {
	mu    sync.Mutex
	order []string
	grace map[string]int64
	hold  map[string]chan struct{}
}

func (s *stops) stop(pod string, seconds int64) {
	s.mu.Lock()
	s.order, s.grace[pod] = append(s.order, pod), seconds
	hold := s.hold[pod]
	s.mu.Unlock()
	if hold != nil {
		<-hold
	}
}

func (s *stops) told(pod string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(s.order, pod)
}

// machine is a world whose machine has a login manager that delays its end by at most delay.
func machine(t *testing.T, delay time.Duration) (*world, *loginddouble.Logind, *stops) {
	t.Helper()
	if _, err := exec.LookPath("dbus-daemon"); err != nil {
		if os.Getenv("EASTWEST_REQUIRE_ROOT") != "" {
			t.Fatal("needs dbus-daemon: apt-get install dbus-daemon")
		}
		t.Skip("needs dbus-daemon")
	}
	w := newWorld(t)
	w.config.Shutdown = shutdown.Periods{{Priority: 0, Grace: 40 * time.Second}, {Priority: 2_000_000_000, Grace: 20 * time.Second}}
	w.config.Logind.ConfDir = filepath.Join(w.dir, "logind.conf.d")
	reload := func() time.Duration {
		text, _ := os.ReadFile(filepath.Join(w.config.Logind.ConfDir, "99-kubelet.conf"))
		for line := range strings.Lines(string(text)) {
			if value, ok := strings.CutPrefix(strings.TrimSpace(line), "InhibitDelayMaxSec="); ok {
				d, _ := time.ParseDuration(value + "s")
				return d
			}
		}
		return delay
	}
	logind, err := loginddouble.Start(t.Context(), w.dir, delay, reload)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(logind.Stop)
	w.config.Logind.Dial = logind.Dial
	s := &stops{grace: map[string]int64{}, hold: map[string]chan struct{}{}}
	w.cri.OnStop = s.stop
	return w, logind, s
}

func withPriority(priority int32, grace int64) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Spec.Priority, p.Spec.TerminationGracePeriodSeconds = &priority, &grace }
}

func (w *world) nodeReady(status corev1.ConditionStatus, message string) {
	w.t.Helper()
	w.eventually("the node's condition Ready is "+string(status)+": "+message, func() bool {
		n, _ := w.api.Get("nodes", "", "n1").(*corev1.Node)
		return n != nil && slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
			return c.Type == corev1.NodeReady && c.Status == status && (message == "" || c.Message == message && c.Reason == "KubeletNotReady")
		})
	})
}

func (w *world) terminated(name string) {
	w.t.Helper()
	p := w.until(name, "failed", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodFailed })
	if p.Status.Reason != "Terminated" || p.Status.Message != "Pod was terminated in response to imminent node shutdown." {
		w.t.Errorf("pod %s: reason %q, message %q", name, p.Status.Reason, p.Status.Message)
	}
	if !slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.DisruptionTarget && c.Status == corev1.ConditionTrue && c.Reason == "TerminationByKubelet"
	}) {
		w.t.Errorf("pod %s: no condition DisruptionTarget in %+v", name, p.Status.Conditions)
	}
}

// The machine goes down when its pods have ended: plain ones first, then critical ones, each with its own period or its group's.
func TestMachineThatGoesDownWaitsForPods(t *testing.T) {
	w, logind, s := machine(t, 5*time.Second)
	s.hold["slow"] = make(chan struct{})
	w.start()
	w.create(newPod("slow", withPriority(0, 600)))
	w.create(newPod("quick", withPriority(7, 3)))
	w.create(newPod("critical", withPriority(2_000_001_000, 600)))
	for _, name := range []string{"slow", "quick", "critical"} {
		w.ready(name)
	}
	w.eventually("the shutdown is delayed", logind.Held)
	if got := strings.Join(logind.Asked(), ","); got != "shutdown,kubelet,Kubelet needs time to handle node shutdown,delay" {
		t.Errorf("the inhibitor is for %s", got)
	}

	if err := logind.PrepareForShutdown(true); err != nil {
		t.Fatal(err)
	}
	w.nodeReady(corev1.ConditionFalse, "node is shutting down")
	w.terminated("quick")
	w.eventually("slow is told to stop", func() bool { return s.told("slow") })
	w.create(newPod("late", nil))
	p := w.until("late", "refused", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodFailed })
	if p.Status.Reason != "NodeShutdown" || p.Status.Message != "Pod was rejected: Pod was rejected as the node is shutting down." {
		t.Errorf("reason %q, message %q", p.Status.Reason, p.Status.Message)
	}
	if s.told("critical") || !logind.Held() {
		t.Errorf("before slow ended, critical was told: %v; the machine waits: %v", s.told("critical"), logind.Held())
	}
	close(s.hold["slow"])
	w.terminated("slow")
	w.terminated("critical")
	w.eventually("the machine may go down", func() bool { return !logind.Held() })
	if s.grace["slow"] != 40 || s.grace["quick"] != 3 || s.grace["critical"] != 20 {
		t.Errorf("periods are %v", s.grace)
	}
	w.eventually("the shutdown is an event", func() bool { return len(w.api.Events("n1")["NodeShutdown"]) > 0 })
}

// goingDown is a machine that has begun to go down: its pod "slow" was told to stop, "critical" was not.
func goingDown(t *testing.T) (*world, *loginddouble.Logind, *stops) {
	t.Helper()
	w, logind, s := machine(t, time.Hour)
	s.hold["slow"] = make(chan struct{})
	w.start()
	w.create(newPod("slow", withPriority(0, 600)))
	w.create(newPod("critical", withPriority(2_000_001_000, 600)))
	w.ready("slow")
	w.ready("critical")
	w.eventually("the shutdown is delayed", logind.Held)
	if err := logind.PrepareForShutdown(true); err != nil {
		t.Fatal(err)
	}
	w.eventually("slow is told to stop", func() bool { return s.told("slow") })
	return w, logind, s
}

// A shutdown that is called off: the node is Ready again and takes pods, those that were not told yet go on, and the next one is delayed too.
func TestShutdownCalledOff(t *testing.T) {
	w, logind, s := goingDown(t)
	if err := logind.PrepareForShutdown(false); err != nil {
		t.Fatal(err)
	}
	w.nodeReady(corev1.ConditionTrue, "")
	close(s.hold["slow"])
	w.terminated("slow")
	w.create(newPod("next", nil))
	w.ready("next")
	if p := w.pod("critical"); s.told("critical") || !isPodReady(p) {
		t.Errorf("critical was told: %v; its status is %+v", s.told("critical"), p.Status)
	}
	w.eventually("the next shutdown is delayed", logind.Held)
	if err := logind.PrepareForShutdown(true); err != nil {
		t.Fatal(err)
	}
	w.terminated("critical")
	w.terminated("next")
	w.eventually("the machine may go down", func() bool { return !logind.Held() })
}

// A kubelet that is killed while its machine goes down goes on with that when it is back: what was told to end does not run on.
func TestKubeletKilledWhileTheMachineGoesDown(t *testing.T) {
	w, _, s := goingDown(t)
	close(s.hold["slow"])
	w.restart()
	w.nodeReady(corev1.ConditionFalse, "node is shutting down")
	w.terminated("slow")
	w.terminated("critical")
}

// Where nobody says that the machine goes down, whoever stops the node does; and without periods, pods are left alone.
func TestShutDownWithoutLogind(t *testing.T) {
	w, logind, s := machine(t, time.Hour)
	logind.Stop()
	w.start()
	w.create(newPod("one", withPriority(0, 600)))
	w.ready("one")
	w.kubelet.ShutDown(t.Context())
	if p := w.pod("one"); p.Status.Phase != corev1.PodFailed {
		t.Errorf("after the shutdown the pod is stored as %s", p.Status.Phase)
	}
	w.terminated("one")
	w.nodeReady(corev1.ConditionFalse, "node is shutting down")

	w.stop()
	w.config.Shutdown = nil
	w.start()
	w.nodeReady(corev1.ConditionTrue, "")
	w.create(newPod("two", nil))
	w.ready("two")
	w.kubelet.ShutDown(t.Context())
	if p := w.pod("two"); s.told("two") || !isPodReady(p) {
		t.Errorf("two was told: %v; its status is %+v", s.told("two"), p.Status)
	}
}
