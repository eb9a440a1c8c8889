// SPDX-License-Identifier: Apache-2.0

package cri

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// serveVariable has the test binary be a server on the node in that folder.
const serveVariable = "EASTWEST_TEST_CRI"

func serveUntilKilled(dir string) {
	n := &node{dir: dir, group: "/" + filepath.Base(dir)}
	server, err := New(context.Background(), n.config(os.Stderr))
	if err == nil {
		err = server.Serve(context.Background(), n.path("killed.sock"))
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// Whoever is killed at any moment of a pod's life, the runtime, the monitors of its containers, the OCI runtime, or all of them: the pod can be
// removed, with all that belongs to it, and until then says truly what became of it.
func TestKilledAtAnyStep(t *testing.T) {
	for _, victims := range []struct {
		name            string
		runtime         bool
		monitors, makes bool
	}{
		{name: "runtime", runtime: true},
		{name: "monitor", monitors: true},
		{name: "runc", makes: true},
		{name: "all", runtime: true, monitors: true, makes: true},
	} {
		t.Run(victims.name, func(t *testing.T) {
			n := newNode(t)
			n.halt()
			n.halt = nil
			const steps, pace = 14, 16 * time.Millisecond
			for step := range steps {
				n.liveAndKill(fmt.Sprintf("pod%d", step), time.Duration(step)*pace, victims.runtime, func(program string) bool {
					return program == "conmon" && victims.monitors || strings.HasPrefix(program, "runc") && victims.makes
				})
				n.start()
				n.checkAndRemove(step)
				n.halt()
				n.halt = nil
				n.expectNothing(step)
			}
		})
	}
}

// checkAndRemove removes every pod. What ended says so, with times in their order.
func (n *node) checkAndRemove(step int) {
	n.t.Helper()
	containers, err := n.runtime.ListContainers(n.t.Context(), &runtimeapi.ListContainersRequest{})
	if err != nil {
		n.t.Fatal(err)
	}
	for _, c := range containers.GetContainers() {
		st := n.status(c.Id)
		running, exited := st.State == runtimeapi.ContainerState_CONTAINER_RUNNING, st.State == runtimeapi.ContainerState_CONTAINER_EXITED
		if running && !alive(n.pid(c.Id), "") || exited && (st.FinishedAt < st.StartedAt || st.FinishedAt == 0 || st.Reason == "") {
			n.t.Errorf("killed after %d steps: its status is %v", step, st)
		}
	}
	list, err := n.runtime.ListPodSandbox(n.t.Context(), &runtimeapi.ListPodSandboxRequest{})
	if err != nil {
		n.t.Fatal(err)
	}
	for _, sb := range list.GetItems() {
		if _, err := n.runtime.RemovePodSandbox(n.t.Context(), &runtimeapi.RemovePodSandboxRequest{PodSandboxId: sb.Id}); err != nil {
			n.t.Errorf("killed after %d steps: %v", step, err)
		}
	}
}

// expectNothing fails when anything is left: what a killed one had started may take a moment to end.
func (n *node) expectNothing(step int) {
	n.t.Helper()
	var left []string
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if left = n.left(); len(left) == 0 {
			return
		}
	}
	for _, what := range left {
		n.t.Errorf("killed after %d steps: %s", step, what)
	}
}

// liveAndKill has a pod come and go on a server of its own process. After a while those of the node's other processes are killed whose program
// is meant, and the server in any case: at the same moment, or when the pod's life is over.
func (n *node) liveAndKill(name string, after time.Duration, runtime bool, meant func(program string) bool) {
	n.t.Helper()
	exe, err := os.Executable()
	if err != nil {
		n.t.Fatal(err)
	}
	server := exec.Command(exe)
	server.Env = append(os.Environ(), serveVariable+"="+n.dir)
	if err := server.Start(); err != nil {
		n.t.Fatal(err)
	}
	conn := n.dial("killed.sock")
	defer conn.Close()
	client := runtimeapi.NewRuntimeServiceClient(conn)
	if _, err := client.Version(n.t.Context(), &runtimeapi.VersionRequest{}, grpc.WaitForReady(true)); err != nil {
		n.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = live(n.t.Context(), client, n.sandboxConfig(name)) // fails when somebody is killed at that moment
	}()
	time.Sleep(after)
	if runtime {
		_ = server.Process.Kill()
	}
	n.killPrograms(meant)
	if !runtime {
		<-done
		_ = server.Process.Kill()
	}
	_ = server.Wait()
	<-done
}

// killPrograms kills the node's own processes of those programs.
func (n *node) killPrograms(meant func(program string) bool) {
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, line := range lines {
		raw, _ := os.ReadFile(line)
		program, _, _ := strings.Cut(string(raw), "\x00")
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(line)))
		if err == nil && strings.Contains(string(raw), n.dir+"/state") && meant(filepath.Base(program)) {
			_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended
		}
	}
}

// live has a pod of a shared process namespace and one container come and go.
func live(ctx context.Context, client runtimeapi.RuntimeServiceClient, pod *runtimeapi.PodSandboxConfig) error {
	pod.Linux.SecurityContext.NamespaceOptions.Pid = runtimeapi.NamespaceMode_POD
	sandbox, err := client.RunPodSandbox(ctx, &runtimeapi.RunPodSandboxRequest{Config: pod})
	if err != nil {
		return err
	}
	id := sandbox.PodSandboxId
	c, err := client.CreateContainer(ctx, &runtimeapi.CreateContainerRequest{PodSandboxId: id, Config: containerConfig("main", "serve"), SandboxConfig: pod})
	if err != nil {
		return err
	}
	if _, err := client.StartContainer(ctx, &runtimeapi.StartContainerRequest{ContainerId: c.ContainerId}); err != nil {
		return err
	}
	if _, err := client.StopPodSandbox(ctx, &runtimeapi.StopPodSandboxRequest{PodSandboxId: id}); err != nil {
		return err
	}
	_, err = client.RemovePodSandbox(ctx, &runtimeapi.RemovePodSandboxRequest{PodSandboxId: id})
	return err
}
