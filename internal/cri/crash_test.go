// SPDX-License-Identifier: Apache-2.0

package cri

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
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

// A runtime that is killed at any moment of a pod's life leaves a pod that the next one can remove, with all that belongs to it.
func TestKilledAtAnyStep(t *testing.T) {
	n := newNode(t)
	n.halt()
	n.halt = nil
	const steps, pace = 14, 16 * time.Millisecond
	for step := range steps {
		n.liveAndKill(fmt.Sprintf("pod%d", step), time.Duration(step)*pace)
		n.start()
		list, err := n.runtime.ListPodSandbox(t.Context(), &runtimeapi.ListPodSandboxRequest{})
		if err != nil {
			t.Fatal(err)
		}
		for _, sb := range list.GetItems() {
			if _, err := n.runtime.RemovePodSandbox(t.Context(), &runtimeapi.RemovePodSandboxRequest{PodSandboxId: sb.Id}); err != nil {
				t.Errorf("killed after %d steps: %v", step, err)
			}
		}
		n.halt()
		n.halt = nil
		var left []string
		for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
			if left = n.left(); len(left) == 0 { // what the killed one had started may take a moment to end
				break
			}
		}
		for _, what := range left {
			t.Errorf("killed after %d steps: %s", step, what)
		}
	}
}

// liveAndKill has a pod come and go on a server of its own process, which is killed after a while.
func (n *node) liveAndKill(name string, after time.Duration) {
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
	conn, err := grpc.NewClient("unix://"+n.path("killed.sock"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		n.t.Fatal(err)
	}
	defer conn.Close()
	client := runtimeapi.NewRuntimeServiceClient(conn)
	if _, err := client.Version(n.t.Context(), &runtimeapi.VersionRequest{}, grpc.WaitForReady(true)); err != nil {
		n.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = live(n.t.Context(), client, n.sandboxConfig(name)) // fails when the server is killed
	}()
	time.Sleep(after)
	_ = server.Process.Kill()
	_ = server.Wait()
	<-done
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
