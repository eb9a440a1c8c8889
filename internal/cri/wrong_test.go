// SPDX-License-Identifier: Apache-2.0

package cri

import (
	"io"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// What ends a container against its will shows in its status.
func TestContainersThatEndBadly(t *testing.T) {
	n := newNode(t)
	pod := n.sandboxConfig("bad")
	sb := n.runSandbox(pod)

	stubborn := n.run(sb, containerConfig("stubborn", "stubborn"), pod)
	n.waitLog(n.path("logs", "bad", "stubborn", "0.log"), "ready")
	if _, err := n.runtime.StopContainer(t.Context(), &runtimeapi.StopContainerRequest{ContainerId: stubborn, Timeout: 1}); err != nil {
		t.Fatal(err)
	}
	if st := n.status(stubborn); st.ExitCode != 137 || st.Reason != "Error" {
		t.Errorf("a container that ignores SIGTERM: %v", st)
	}

	cfg := containerConfig("hungry", "eat")
	cfg.Linux.Resources.MemoryLimitInBytes = 32 << 20
	hungry := n.run(sb, cfg, pod)
	if st := n.waitExit(hungry); st.ExitCode != 137 || st.Reason != "OOMKilled" {
		t.Errorf("a container that takes more memory than it may: %v", st)
	}
}

// A runtime without its programs says which package has them.
func TestMissingPrograms(t *testing.T) {
	n := newNode(t)
	for name, change := range map[string]func(*Config){
		"runc":   func(c *Config) { c.Runtime = n.path("none") },
		"conmon": func(c *Config) { c.Monitor = n.path("none") },
	} {
		config := n.config(io.Discard)
		config.Root, config.State = n.path("other", name), n.path("other", name, "state")
		change(&config)
		_, err := New(t.Context(), config)
		if err == nil || !strings.Contains(err.Error(), "apt install "+name) {
			t.Errorf("without %s: %v", name, err)
		}
		_ = unix.Unmount(config.State, unix.MNT_DETACH) // made before it is known what is missing
	}
}
