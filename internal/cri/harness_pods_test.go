// SPDX-License-Identifier: Apache-2.0

package cri

import (
	"encoding/json"
	"os"
	"strings"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// sandboxConfig is a pod of its own network, with logs in the node's folder.
func (n *node) sandboxConfig(name string) *runtimeapi.PodSandboxConfig {
	return &runtimeapi.PodSandboxConfig{
		Metadata: &runtimeapi.PodSandboxMetadata{Name: name, Namespace: "default", Uid: name + "-uid"}, Hostname: name,
		LogDirectory: n.path("logs", name), Labels: map[string]string{"pod": name},
		DnsConfig: &runtimeapi.DNSConfig{Servers: []string{"10.96.0.10"}, Searches: []string{"default.svc.cluster.local"}, Options: []string{"ndots:5"}},
		Linux: &runtimeapi.LinuxPodSandboxConfig{SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{
			NamespaceOptions: &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_CONTAINER},
		}},
	}
}

func containerConfig(name string, command ...string) *runtimeapi.ContainerConfig {
	return &runtimeapi.ContainerConfig{
		Metadata: &runtimeapi.ContainerMetadata{Name: name}, Image: &runtimeapi.ImageSpec{Image: "test.local/pod"},
		Args: command, LogPath: name + "/0.log",
		Linux: &runtimeapi.LinuxContainerConfig{
			Resources: &runtimeapi.LinuxContainerResources{OomScoreAdj: -997},
			SecurityContext: &runtimeapi.LinuxContainerSecurityContext{
				NamespaceOptions: &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_CONTAINER},
				Seccomp:          &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_RuntimeDefault},
				MaskedPaths:      []string{"/proc/kcore"}, ReadonlyPaths: []string{"/proc/sys"},
			},
		},
	}
}

func (n *node) runSandbox(cfg *runtimeapi.PodSandboxConfig) string {
	n.t.Helper()
	resp, err := n.runtime.RunPodSandbox(n.t.Context(), &runtimeapi.RunPodSandboxRequest{Config: cfg})
	if err != nil {
		n.t.Fatal(err)
	}
	return resp.PodSandboxId
}

func (n *node) create(sandbox string, cfg *runtimeapi.ContainerConfig, pod *runtimeapi.PodSandboxConfig) string {
	n.t.Helper()
	resp, err := n.runtime.CreateContainer(n.t.Context(), &runtimeapi.CreateContainerRequest{PodSandboxId: sandbox, Config: cfg, SandboxConfig: pod})
	if err != nil {
		n.t.Fatal(err)
	}
	return resp.ContainerId
}

func (n *node) run(sandbox string, cfg *runtimeapi.ContainerConfig, pod *runtimeapi.PodSandboxConfig) string {
	n.t.Helper()
	id := n.create(sandbox, cfg, pod)
	if _, err := n.runtime.StartContainer(n.t.Context(), &runtimeapi.StartContainerRequest{ContainerId: id}); err != nil {
		n.t.Fatal(err)
	}
	return id
}

// exec runs a command and returns its output and exit code.
func (n *node) exec(id string, cmd ...string) (string, int32) {
	n.t.Helper()
	resp, err := n.runtime.ExecSync(n.t.Context(), &runtimeapi.ExecSyncRequest{ContainerId: id, Cmd: append([]string{"/pod"}, cmd...), Timeout: 60})
	if err != nil {
		n.t.Fatal(err)
	}
	return string(resp.Stdout) + string(resp.Stderr), resp.ExitCode
}

func (n *node) status(id string) *runtimeapi.ContainerStatus {
	n.t.Helper()
	resp, err := n.runtime.ContainerStatus(n.t.Context(), &runtimeapi.ContainerStatusRequest{ContainerId: id})
	if err != nil {
		n.t.Fatal(err)
	}
	return resp.Status
}

func (n *node) pid(id string) int {
	n.t.Helper()
	resp, err := n.runtime.ContainerStatus(n.t.Context(), &runtimeapi.ContainerStatusRequest{ContainerId: id, Verbose: true})
	if err != nil {
		n.t.Fatal(err)
	}
	var info struct{ PID int }
	if err := json.Unmarshal([]byte(resp.Info["info"]), &info); err != nil {
		n.t.Fatal(err)
	}
	return info.PID
}

// eventually polls until check holds.
func (n *node) eventually(what string, check func() bool) {
	n.t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if check() {
			return
		}
	}
	n.t.Fatalf("did not happen: %s", what)
}

func (n *node) waitExit(id string) *runtimeapi.ContainerStatus {
	n.t.Helper()
	var st *runtimeapi.ContainerStatus
	n.eventually("container ends", func() bool {
		st = n.status(id)
		return st.State == runtimeapi.ContainerState_CONTAINER_EXITED
	})
	return st
}

func (n *node) waitLog(path, text string) string {
	n.t.Helper()
	var raw []byte
	n.eventually("log has "+text, func() bool {
		raw, _ = os.ReadFile(path)
		return strings.Contains(string(raw), text)
	})
	return string(raw)
}
