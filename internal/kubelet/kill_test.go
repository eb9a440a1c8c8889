// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"

	"eastwest/internal/client"
)

// killedVariable has the test binary be a kubelet by the configuration that it holds.
const killedVariable = "EASTWEST_TEST_KUBELET"

func TestMain(m *testing.M) {
	if text := os.Getenv(killedVariable); text != "" {
		fmt.Fprintln(os.Stderr, runUntilKilled(text))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// place is where a kubelet of another process works.
type place struct{ API, Runtime, RootDir, LogDir, CgroupMount string }

func runUntilKilled(text string) error {
	var p place
	if err := json.Unmarshal([]byte(text), &p); err != nil {
		return err
	}
	c, err := client.New(&rest.Config{Host: p.API, QPS: -1})
	if err != nil {
		return err
	}
	k, err := New(Config{
		NodeName: "n1", NodeIPs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, RootDir: p.RootDir, LogDir: p.LogDir, RuntimeEndpoint: p.Runtime,
		Client: c, Listen: "127.0.0.1:0", ClusterDNS: []netip.Addr{netip.MustParseAddr("10.96.0.10")}, CgroupMount: p.CgroupMount,
		ServingCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &tls.Certificate{}, nil },
		Log:                slog.New(slog.NewTextHandler(os.Stderr, nil)),
	})
	if err != nil {
		return err
	}
	return k.Run(context.Background())
}

// process is a kubelet that can be killed.
type process struct {
	cmd  *exec.Cmd
	once sync.Once
}

func (w *world) startProcess() *process {
	w.t.Helper()
	c := w.config
	text, err := json.Marshal(place{API: w.api.Client.Config().Host, Runtime: c.RuntimeEndpoint, RootDir: c.RootDir, LogDir: c.LogDir, CgroupMount: c.CgroupMount})
	if err != nil {
		w.t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		w.t.Fatal(err)
	}
	p := &process{cmd: exec.Command(exe)}
	p.cmd.Env = append(os.Environ(), killedVariable+"="+string(text))
	p.cmd.Stderr = w.t.Output()
	if err := p.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(p.kill)
	return p
}

// kill returns when the process is gone.
func (p *process) kill() {
	p.once.Do(func() {
		_ = p.cmd.Process.Kill() // it may be gone
		_ = p.cmd.Wait()
	})
}

// A kubelet that is killed at any step of a pod's life, before the step took effect or before it learned of it: the next one brings the
// pod to where it is going, starts nothing twice and leaves nothing.
func TestKubeletKilledAtAnyStep(t *testing.T) {
	for _, step := range []string{
		"RunPodSandbox", "CreateContainer", "StartContainer", "PATCH pods/web/status", // of its start
		"StopContainer", "StopPodSandbox", "RemoveContainer", "RemovePodSandbox", "DELETE pods/web", // of its end
	} {
		for _, when := range []string{"before", "after"} {
			t.Run(when+" "+strings.ReplaceAll(step, "/", "-"), func(t *testing.T) { killAt(t, step, when == "after") })
		}
	}
}

func killAt(t *testing.T, step string, after bool) {
	w := newWorld(t)
	var starts atomic.Int32
	w.cri.OnStart = func(string, string) { starts.Add(1) }
	p := w.startProcess()
	killed := make(chan struct{})
	var once sync.Once
	var calls atomic.Int32
	first := int32(1)
	if strings.HasPrefix(step, "DELETE") {
		first = 2 // after the test's own
	}
	at := func(call string) error {
		err := error(nil)
		if call == step && calls.Add(1) >= first {
			once.Do(func() {
				p.kill()
				close(killed)
				err = errors.New("whoever asked is dead")
			})
		}
		return err
	}
	w.api.SetHooks(hook(at, !after), hook(at, after))
	w.cri.SetFail(func(_ context.Context, call string) error { return hook(at, !after)(call) })
	w.cri.SetAfter(func(call string) { _ = hook(at, after)(call) })

	w.create(newPod("web", nil))
	select {
	case <-killed:
		w.startProcess()
		w.ready("web")
		w.delete("web")
	case <-readiness(w, "web"):
		w.delete("web")
		<-killed
		w.startProcess()
	}
	w.gone("web")
	w.eventually("nothing is left in the runtime", func() bool { s, c := w.cri.Count(); return s+c == 0 })
	w.eventually("nothing is left of the volumes and logs", func() bool {
		left, _ := filepath.Glob(filepath.Join(w.config.RootDir, "pods", "*"))
		logs, _ := filepath.Glob(filepath.Join(w.config.LogDir, "*"))
		mounts, _ := os.ReadFile("/proc/self/mountinfo")
		return len(left)+len(logs) == 0 && !strings.Contains(string(mounts), w.dir)
	})
	if n := starts.Load(); n != 1 {
		t.Errorf("the container was started %d times", n)
	}
}

// hook is at when it is wanted at that moment.
func hook(at func(string) error, wanted bool) func(string) error {
	if wanted {
		return at
	}
	return func(string) error { return nil }
}

// readiness is closed when the pod is ready.
func readiness(w *world, name string) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.eventually("pod "+name+" is ready, or the kubelet was killed", func() bool {
			p := w.pod(name)
			return p != nil && isPodReady(p)
		})
	}()
	return done
}

// A container that ends while its kubelet is dead has its own end in the status, and what must not run again does not.
func TestContainerEndsWhileTheKubeletIsDead(t *testing.T) {
	w := newWorld(t)
	var starts atomic.Int32
	w.cri.OnStart = func(string, string) { starts.Add(1) }
	p := w.startProcess()
	w.create(newPod("job", func(p *corev1.Pod) { p.Spec.RestartPolicy = corev1.RestartPolicyNever }))
	w.ready("job")
	p.kill()
	if err := w.cri.Exit("job", "main", 3, "Error"); err != nil {
		t.Fatal(err)
	}
	w.startProcess()
	got := w.until("job", "failed", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodFailed })
	end := got.Status.ContainerStatuses[0].State.Terminated
	if end == nil || end.ExitCode != 3 || end.Reason != "Error" || end.FinishedAt.Before(&end.StartedAt) || starts.Load() != 1 {
		t.Errorf("its end is %+v, it was started %d times", end, starts.Load())
	}
	w.delete("job")
	w.gone("job")
}
