// SPDX-License-Identifier: Apache-2.0

package kubelet

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"

	"eastwest/internal/cri"
	"eastwest/internal/cri/images"
)

// useRuntime puts the embedded runtime, with a program as image app:1, in the place of the double.
func (w *world) useRuntime() {
	t := w.t
	t.Helper()
	for _, p := range []string{"runc", "conmon"} {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("this test needs %s", p)
		}
	}
	program := filepath.Join(w.dir, "pod")
	build := exec.Command("go", "build", "-o", program, "../cri/testdata/pod")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the pod's program: %v: %s", err, out)
	}
	store, err := images.Open(filepath.Join(w.dir, "cri"))
	if err != nil {
		t.Fatal(err)
	}
	if err := store.AddBinary(t.Context(), "app:1", program, v1.Config{}); err != nil {
		t.Fatal(err)
	}
	server, err := cri.New(context.Background(), cri.Config{
		Root: filepath.Join(w.dir, "cri"), State: filepath.Join(w.dir, "run"), CNIConfDir: filepath.Join(w.dir, "cni"),
		CNIBinDirs: []string{filepath.Join(w.dir, "cnibin")}, NetnsDir: filepath.Join(w.dir, "netns"),
		Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	socket := filepath.Join(w.dir, "real.sock")
	go func() { done <- server.Serve(ctx, socket) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := unix.Unmount(filepath.Join(w.dir, "run"), unix.MNT_DETACH); err != nil { // the runtime keeps its mounts private there
			t.Error(err)
		}
	})
	w.config.RuntimeEndpoint, w.config.CgroupMount, w.config.CgroupRoot = "unix://"+socket, "/sys/fs/cgroup", filepath.Base(filepath.Dir(w.dir))
	t.Cleanup(func() { w.removeCgroups() })
}

func (w *world) removeCgroups() {
	for _, name := range []string{"kubepods/besteffort", "kubepods/burstable", "kubepods"} {
		if err := w.kubelet.cgroups.Remove("/" + w.config.CgroupRoot + "/" + name); err != nil {
			w.t.Error(err)
		}
	}
	if err := w.kubelet.cgroups.Remove("/" + w.config.CgroupRoot); err != nil {
		w.t.Error(err)
	}
}

// hostPod runs the program in the node's own network, for which no plugin is needed.
func hostPod(name string, args ...string) *corev1.Pod {
	return newPod(name, func(p *corev1.Pod) {
		p.Spec.HostNetwork, p.Spec.Containers[0].Args = true, args
	})
}

func TestRealPodThroughTheServer(t *testing.T) {
	w := newWorld(t)
	w.useRuntime()
	ca := newAuthority(t)
	serving, _, _ := ca.issue("node")
	w.config.ServingCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &serving, nil }
	w.config.ClientCA = ca.pool()
	w.start()
	w.create(hostPod("web", "serve"))
	before := w.ready("web")

	_, cert, key := ca.issue("admin")
	admin := &rest.Config{TLSClientConfig: rest.TLSClientConfig{CAData: ca.pem(), CertData: cert, KeyData: key}}
	base := &url.URL{Scheme: "https", Host: w.kubelet.Address().String()}
	w.eventually("the log is there", func() bool {
		return w.fetch(admin, base.JoinPath("containerLogs/default/web/main")) == "hello\nwarning\n"
	})

	w.kubelet.rotateOnce(t.Context(), 1)
	w.eventually("the runtime begins a new log", func() bool {
		old, _ := filepath.Glob(filepath.Join(w.config.LogDir, "default_web_*", "main", "0.log.*"))
		return len(old) == 1 && w.fetch(admin, base.JoinPath("containerLogs/default/web/main")) == ""
	})

	command := url.Values{"command": {"/pod", "cat", "/var/run/secrets/kubernetes.io/serviceaccount/namespace"}, "output": {"1"}, "error": {"1"}}
	target := base.JoinPath("exec/default/web/main")
	target.RawQuery = command.Encode()
	for kind, open := range map[string]func() (remotecommand.Executor, error){
		"spdy": func() (remotecommand.Executor, error) {
			return remotecommand.NewSPDYExecutor(admin, http.MethodPost, target)
		},
		"websocket": func() (remotecommand.Executor, error) {
			// The API server speaks v5 with its clients and SPDY with nodes; a plain v4 WebSocket passes through it as it is.
			return remotecommand.NewWebSocketExecutorForProtocols(admin, http.MethodGet, target.String(), "v4.channel.k8s.io")
		},
	} {
		executor, err := open()
		if err != nil {
			t.Fatal(err)
		}
		var stdout, stderr bytes.Buffer
		if err := executor.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdout: &stdout, Stderr: &stderr}); err != nil {
			t.Errorf("exec over %s: %v", kind, err)
		}
		if diff := cmp.Diff("default", stdout.String()); diff != "" {
			t.Errorf("exec over %s (-want +got):\n%s%s", kind, diff, stderr.String())
		}
	}
	_, cert, key = ca.issue("stranger")
	stranger := &rest.Config{TLSClientConfig: rest.TLSClientConfig{CAData: ca.pem(), CertData: cert, KeyData: key}}
	if got := w.fetch(stranger, base.JoinPath("pods")); !strings.HasPrefix(got, "Forbidden") {
		t.Errorf("a stranger was answered %q", got)
	}
	w.restart()
	w.create(hostPod("second", "serve"))
	w.ready("second")
	after := w.ready("web")
	if before.Status.ContainerStatuses[0].ContainerID != after.Status.ContainerStatuses[0].ContainerID {
		t.Error("the restart of the kubelet replaced a running container")
	}
	for _, name := range []string{"web", "second"} {
		w.delete(name)
		w.gone(name)
	}
}

func TestRealCrashSaysWhy(t *testing.T) {
	w := newWorld(t)
	w.useRuntime()
	w.start()
	w.create(func() *corev1.Pod {
		p := hostPod("bad", "fail", "7")
		p.Spec.Containers[0].TerminationMessagePolicy = corev1.TerminationMessageFallbackToLogsOnError
		return p
	}())
	p := w.until("bad", "in CrashLoopBackOff", func(p *corev1.Pod) bool { return waitingFor(p, "CrashLoopBackOff") })
	last := p.Status.ContainerStatuses[0].LastTerminationState.Terminated
	if last == nil || last.ExitCode != 7 || last.Message != "failing\n" || last.Reason != "Error" {
		t.Errorf("the last end is told as %+v", last)
	}
	w.delete("bad")
	w.gone("bad")
}

func (w *world) fetch(config *rest.Config, from *url.URL) string {
	w.t.Helper()
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		w.t.Fatal(err)
	}
	answer, err := client.Get(from.String())
	if err != nil {
		return err.Error()
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return err.Error()
	}
	return string(body)
}
