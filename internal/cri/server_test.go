// SPDX-License-Identifier: Apache-2.0

package cri

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"eastwest/internal/cri/network"
)

func TestPodLifecycle(t *testing.T) {
	n := newNode(t)
	pod := n.sandboxConfig("web")
	sb := n.runSandbox(pod)

	st, err := n.runtime.PodSandboxStatus(t.Context(), &runtimeapi.PodSandboxStatusRequest{PodSandboxId: sb})
	if err != nil {
		t.Fatal(err)
	}
	if st.Status.State != runtimeapi.PodSandboxState_SANDBOX_READY || st.Status.Network.Ip != "10.1.2.3" {
		t.Errorf("sandbox status: %v", st.Status)
	}
	pins, _ := filepath.Glob(n.path("netns", "cni-*"))
	if len(pins) != 1 || !isNamespace(pins[0]) {
		t.Errorf("network namespaces: %v", pins)
	}

	id := n.run(sb, containerConfig("main", "serve"), pod)
	log := n.waitLog(n.path("logs", "web", "main", "0.log"), "stderr F warning")
	if !strings.Contains(log, "stdout F hello") {
		t.Errorf("log: %q", log)
	}
	if out, code := n.exec(id, "id"); code != 0 || !strings.HasPrefix(out, "web 0 0 [0] /made ") {
		t.Errorf("exec id: %d %q", code, out)
	}
	if out, _ := n.exec(id, "cat", "/etc/resolv.conf"); out != "search default.svc.cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n" {
		t.Errorf("resolv.conf: %q", out)
	}
	if out, _ := n.exec(id, "cat", "/etc/hostname"); out != "web\n" {
		t.Errorf("hostname: %q", out)
	}
	if out, code := n.exec(id, "fail", "7"); code != 7 || out != "failing\n" {
		t.Errorf("exec fail: %d %q", code, out)
	}

	if _, err := n.runtime.StopContainer(t.Context(), &runtimeapi.StopContainerRequest{ContainerId: id, Timeout: 30}); err != nil {
		t.Fatal(err)
	}
	if got := n.status(id); got.State != runtimeapi.ContainerState_CONTAINER_EXITED || got.ExitCode != 0 || got.Reason != "Completed" {
		t.Errorf("stopped container: %v", got)
	}
	n.waitLog(n.path("logs", "web", "main", "0.log"), "stdout F bye")
	for range 2 {
		if _, err := n.runtime.StopPodSandbox(t.Context(), &runtimeapi.StopPodSandboxRequest{PodSandboxId: sb}); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if _, err := n.runtime.RemovePodSandbox(t.Context(), &runtimeapi.RemovePodSandboxRequest{PodSandboxId: sb}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := n.runtime.ContainerStatus(t.Context(), &runtimeapi.ContainerStatusRequest{ContainerId: id}); status.Code(err) != codes.NotFound {
		t.Errorf("removed container: %v", err)
	}
}

func TestContainerEndsByItself(t *testing.T) {
	n := newNode(t)
	pod := n.sandboxConfig("job")
	sb := n.runSandbox(pod)
	events, err := n.runtime.GetContainerEvents(t.Context(), &runtimeapi.GetEventsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := events.Header(); err != nil {
		t.Fatal(err)
	}
	id := n.run(sb, containerConfig("main", "fail", "3"), pod)
	for _, want := range []runtimeapi.ContainerEventType{
		runtimeapi.ContainerEventType_CONTAINER_CREATED_EVENT, runtimeapi.ContainerEventType_CONTAINER_STARTED_EVENT,
		runtimeapi.ContainerEventType_CONTAINER_STOPPED_EVENT,
	} {
		ev, err := events.Recv()
		if err != nil {
			t.Fatal(err)
		}
		if ev.ContainerEventType != want || ev.ContainerId != id || ev.PodSandboxStatus.GetId() != sb {
			t.Errorf("event: got %v of %s, want %v", ev.ContainerEventType, ev.ContainerId, want)
		}
	}
	if st := n.status(id); st.ExitCode != 3 || st.Reason != "Error" || st.FinishedAt < st.StartedAt {
		t.Errorf("status: %v", st)
	}
}

func TestServerRestartKeepsContainers(t *testing.T) {
	n := newNode(t)
	pod := n.sandboxConfig("web")
	sb := n.runSandbox(pod)
	stays := n.run(sb, containerConfig("stays", "serve"), pod)
	ends := n.run(sb, containerConfig("ends", "serve"), pod)
	lost := n.run(sb, containerConfig("lost", "serve"), pod)
	n.waitLog(n.path("logs", "web", "ends", "0.log"), "hello")
	before := n.pid(stays)
	lostRecord := n.server.containers[lost].record()

	n.halt()
	if err := syscall.Kill(n.server.containers[ends].rec.PID, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	// The monitor is killed first, then the container: nobody sees its exit code.
	for _, pid := range []int{lostRecord.Monitor, lostRecord.PID} {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	n.start()

	if st := n.status(stays); st.State != runtimeapi.ContainerState_CONTAINER_RUNNING || n.pid(stays) != before {
		t.Errorf("container did not stay: %v, process %d, before %d", st.State, n.pid(stays), before)
	}
	if out, code := n.exec(stays, "echo", "still", "here"); code != 0 || out != "still here\n" {
		t.Errorf("exec after restart: %d %q", code, out)
	}
	if st := n.waitExit(ends); st.ExitCode != 0 || st.Reason != "Completed" {
		t.Errorf("container that ended meanwhile: %v", st)
	}
	if st := n.waitExit(lost); st.ExitCode != 255 || st.Reason != "ContainerStatusUnknown" {
		t.Errorf("container whose monitor was killed: %v", st)
	}
}

func TestMonitorKilledWhileServing(t *testing.T) {
	n := newNode(t)
	pod := n.sandboxConfig("web")
	sb := n.runSandbox(pod)
	id := n.run(sb, containerConfig("main", "serve"), pod)
	rec := n.server.containers[id].record()
	if err := syscall.Kill(rec.Monitor, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if st := n.status(id); st.State != runtimeapi.ContainerState_CONTAINER_RUNNING {
		t.Errorf("container ended with its monitor: %v", st)
	}
	if _, err := n.runtime.StopContainer(t.Context(), &runtimeapi.StopContainerRequest{ContainerId: id}); err != nil {
		t.Fatal(err)
	}
	if st := n.status(id); st.State != runtimeapi.ContainerState_CONTAINER_EXITED || st.ExitCode != 255 {
		t.Errorf("status: %v", st)
	}
}

func TestSharedProcessNamespace(t *testing.T) {
	n := newNode(t)
	pod := n.sandboxConfig("shared")
	pod.Linux.SecurityContext.NamespaceOptions.Pid = runtimeapi.NamespaceMode_POD
	sb := n.runSandbox(pod)
	cfg := containerConfig("main", "serve")
	cfg.Linux.SecurityContext.NamespaceOptions.Pid = runtimeapi.NamespaceMode_POD
	id := n.run(sb, cfg, pod)
	if out, _ := n.exec(id, "cat", "/proc/1/cmdline"); out != "/pause\x00" {
		t.Errorf("process 1: %q", out)
	}
	if _, err := n.runtime.StopContainer(t.Context(), &runtimeapi.StopContainerRequest{ContainerId: id}); err != nil {
		t.Fatal(err)
	}
	if st := n.status(id); st.ExitCode != 137 {
		t.Errorf("status: %v", st)
	}
}

func TestStartFailureIsTold(t *testing.T) {
	n := newNode(t)
	pod := n.sandboxConfig("bad")
	sb := n.runSandbox(pod)
	cfg := containerConfig("main")
	cfg.Command = []string{"/no-such-program"}
	id := n.create(sb, cfg, pod)
	_, err := n.runtime.StartContainer(t.Context(), &runtimeapi.StartContainerRequest{ContainerId: id})
	if err == nil || !strings.Contains(err.Error(), "/no-such-program") || !strings.Contains(err.Error(), "no such file or directory") {
		t.Errorf("start: %v", err)
	}
	if st := n.status(id); st.State != runtimeapi.ContainerState_CONTAINER_EXITED || st.ExitCode != 128 || st.Reason != "StartError" {
		t.Errorf("status: %v", st)
	}
}

func TestNetworkFailureLeavesNothing(t *testing.T) {
	n := newNode(t)
	if err := os.WriteFile(n.path("bin", "broken"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := n.runtime.RunPodSandbox(t.Context(), &runtimeapi.RunPodSandboxRequest{Config: n.sandboxConfig("bad")})
	if err == nil || !strings.Contains(err.Error(), "out of addresses") {
		t.Errorf("run: %v", err)
	}
	n.expectNothingLeft()
	os.Remove(n.path("bin", "broken"))
	if err := os.Remove(n.path("conf", "10-test.conflist")); err != nil {
		t.Fatal(err)
	}
	st, err := n.runtime.Status(t.Context(), &runtimeapi.StatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if c := st.Status.Conditions[1]; c.Status || !strings.Contains(c.Message, "cni plugin not initialized") {
		t.Errorf("condition without a network: %v", c)
	}
}

// A network that hangs fails the sandbox when its time is up. What cannot be undone while it hangs is undone later.
func TestNetworkThatHangsLeavesNothing(t *testing.T) {
	n := newNode(t)
	patience := func(timeout time.Duration) {
		n.server.net = network.New(network.Config{
			ConfDir: n.path("conf"), BinDirs: []string{n.path("bin")}, CacheDir: n.path("root", "cni"), Timeout: timeout,
		})
	}
	patience(300 * time.Millisecond)
	if err := os.WriteFile(n.path("bin", "hangs"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := n.runtime.RunPodSandbox(t.Context(), &runtimeapi.RunPodSandboxRequest{Config: n.sandboxConfig("slow")})
	if err == nil || !strings.Contains(err.Error(), "did not end in time") {
		t.Errorf("run: %v", err)
	}
	if err := os.Remove(n.path("bin", "hangs")); err != nil {
		t.Fatal(err)
	}
	patience(time.Minute)
	left, err := n.runtime.ListPodSandbox(t.Context(), &runtimeapi.ListPodSandboxRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for _, sb := range left.GetItems() {
		if sb.State == runtimeapi.PodSandboxState_SANDBOX_READY {
			t.Errorf("a sandbox without a network is ready: %v", sb)
		}
		if _, err := n.runtime.RemovePodSandbox(t.Context(), &runtimeapi.RemovePodSandboxRequest{PodSandboxId: sb.Id}); err != nil {
			t.Error(err)
		}
	}
	n.expectNothingLeft()
	again := n.sandboxConfig("slow")
	again.Metadata.Attempt++
	if _, err := n.runtime.RunPodSandbox(t.Context(), &runtimeapi.RunPodSandboxRequest{Config: again}); err != nil {
		t.Errorf("the next attempt: %v", err)
	}
}
