// SPDX-License-Identifier: Apache-2.0

package cri

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestRuntimeHandlers(t *testing.T) {
	n := newNode(t)
	handlers := []string{"", "runc"}
	if _, err := exec.LookPath("crun"); err == nil {
		handlers = append(handlers, "crun")
	}
	st, err := n.runtime.Status(t.Context(), &runtimeapi.StatusRequest{})
	if err != nil || len(st.GetRuntimeHandlers()) != len(handlers) {
		t.Errorf("handlers in the status: %v, %v; want %q", st.GetRuntimeHandlers(), err, handlers)
	}
	// crun refuses control groups of both versions at once, when version 2 has controllers.
	if controllers, _ := os.ReadFile("/sys/fs/cgroup/unified/cgroup.controllers"); len(strings.TrimSpace(string(controllers))) > 0 {
		handlers = slices.DeleteFunc(handlers, func(h string) bool { return h == "crun" })
		t.Log("crun is not tried: control groups are of both versions here")
	}
	for _, handler := range handlers {
		t.Run("handler "+handler, func(t *testing.T) { n.testHandler(t, handler) })
	}
	_, err = n.runtime.RunPodSandbox(t.Context(), &runtimeapi.RunPodSandboxRequest{Config: n.sandboxConfig("none"), RuntimeHandler: "kata"})
	if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), `no runtime for "kata"`) {
		t.Errorf("sandbox of a handler that there is not: %v", err)
	}
}

// testHandler runs a pod with a shared process namespace through all that calls the OCI runtime.
func (n *node) testHandler(t *testing.T, handler string) {
	pod := n.sandboxConfig("web-" + handler)
	pod.Linux.SecurityContext.NamespaceOptions.Pid = runtimeapi.NamespaceMode_POD
	resp, err := n.runtime.RunPodSandbox(t.Context(), &runtimeapi.RunPodSandboxRequest{Config: pod, RuntimeHandler: handler})
	if err != nil {
		t.Fatal(err)
	}
	cfg := containerConfig("main", "serve")
	cfg.Mounts = []*runtimeapi.Mount{{ContainerPath: "/mnt", HostPath: n.path("bin"), Readonly: true, RecursiveReadOnly: true}}
	id := n.run(resp.PodSandboxId, cfg, pod)
	n.halt()
	n.start()
	if out, code := n.exec(id, "fail", "7"); code != 7 || out != "failing\n" {
		t.Errorf("exec: %d %q", code, out)
	}
	if out, code := n.exec(id, "write", "/mnt/x"); code == 0 || !strings.Contains(out, "read-only file system") {
		t.Errorf("write to a read-only mount: %d %q", code, out)
	}
	_, err = n.runtime.ExecSync(t.Context(), &runtimeapi.ExecSyncRequest{ContainerId: id, Cmd: []string{"/none"}, Timeout: 60})
	if err == nil || !strings.Contains(err.Error(), "/none") || !strings.Contains(strings.ToLower(err.Error()), "no such file") {
		t.Errorf("exec of no program: %v", err)
	}
	limits := &runtimeapi.LinuxContainerResources{MemoryLimitInBytes: 100 << 20}
	if _, err := n.runtime.UpdateContainerResources(t.Context(), &runtimeapi.UpdateContainerResourcesRequest{ContainerId: id, Linux: limits}); err != nil {
		t.Error(err)
	}
	stats, err := n.server.cgroups.Stats(n.server.containers[id].record().CgroupsPath)
	if err != nil || stats.MemoryLimit != 100<<20 {
		t.Errorf("memory limit after an update: %v, %v", stats.MemoryLimit, err)
	}
	if _, err := n.runtime.StopContainer(t.Context(), &runtimeapi.StopContainerRequest{ContainerId: id, Timeout: 30}); err != nil {
		t.Error(err)
	}
	if st := n.status(id); st.GetExitCode() != 0 || st.GetReason() != "Completed" {
		t.Errorf("stopped container: %v", st)
	}
	bad := containerConfig("bad")
	bad.Command = []string{"/no-such-program"}
	_, err = n.runtime.StartContainer(t.Context(), &runtimeapi.StartContainerRequest{ContainerId: n.create(resp.PodSandboxId, bad, pod)})
	if err == nil || !strings.Contains(err.Error(), "/no-such-program") {
		t.Errorf("start of no program: %v", err)
	}
	if _, err := n.runtime.RemovePodSandbox(t.Context(), &runtimeapi.RemovePodSandboxRequest{PodSandboxId: resp.PodSandboxId}); err != nil {
		t.Error(err)
	}
}
