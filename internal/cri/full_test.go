// SPDX-License-Identifier: Apache-2.0

package cri

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// smallDisk is a small file system that can be filled.
type smallDisk struct {
	t       testing.TB
	ballast string
}

// newNodeOnDisk is a node whose images, records and containers are on a small disk of their own, and the logs as well.
func newNodeOnDisk(t *testing.T) (*node, *smallDisk) {
	t.Helper()
	d := &smallDisk{t: t}
	n := newNodeWith(t, func(n *node) {
		root := n.path("root")
		if err := os.MkdirAll(root, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("tmpfs", root, "tmpfs", 0, "size=32m"); err != nil {
			t.Fatal(err)
		}
		d.ballast = filepath.Join(root, "ballast")
	})
	return n, d
}

// leave fills the disk but for so many pages.
func (d *smallDisk) leave(pages int64) {
	d.t.Helper()
	f, err := os.OpenFile(d.ballast, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	page, size := make([]byte, os.Getpagesize()), int64(0)
	for {
		n, err := f.Write(page)
		size += int64(n)
		if err != nil {
			break
		}
	}
	if err := f.Truncate(size - pages*int64(len(page))); err != nil {
		d.t.Fatal(err)
	}
}

func (d *smallDisk) empty() {
	d.t.Helper()
	if err := os.Remove(d.ballast); err != nil {
		d.t.Fatal(err)
	}
}

// A disk that is full at any step of a pod's start fails that step in words that say so, leaves nothing behind that takes space, and does not
// keep anybody from removing the pod, which is what makes room.
func TestDiskIsFullAtAnyStep(t *testing.T) {
	n, d := newNodeOnDisk(t)
	reached := map[string]bool{}
	for pages := int64(0); pages < 40 && !reached["run"]; pages++ {
		d.leave(pages)
		step, err := n.liveOn(fmt.Sprintf("pod%d", pages))
		reached[step] = true
		if err != nil && !strings.Contains(err.Error(), "no space left on device") {
			t.Errorf("%d pages left, %s: %v", pages, step, err)
		}
		n.checkAndRemove(int(pages))
		n.expectNothing(int(pages))
		if left, _ := filepath.Glob(n.path("root", "images", "*", ".tmp-*")); len(left) > 0 {
			t.Errorf("%d pages left, %s: %v stay", pages, step, left)
		}
	}
	for _, step := range []string{"sandbox", "create", "run"} {
		if !reached[step] {
			t.Errorf("no disk was full at the step %s: %v", step, reached)
		}
	}
	d.empty()
	if step, err := n.liveOn("after"); err != nil {
		t.Errorf("with room again, %s: %v", step, err)
	}
}

// liveOn has a pod of one container start, and returns how far it came.
func (n *node) liveOn(name string) (step string, err error) {
	pod := n.sandboxConfig(name)
	pod.LogDirectory = n.path("root", "logs", name)
	defer os.RemoveAll(pod.LogDirectory)
	sandbox, err := n.runtime.RunPodSandbox(n.t.Context(), &runtimeapi.RunPodSandboxRequest{Config: pod})
	if err != nil {
		return "sandbox", err
	}
	c, err := n.runtime.CreateContainer(n.t.Context(), &runtimeapi.CreateContainerRequest{
		PodSandboxId: sandbox.PodSandboxId, Config: containerConfig("main", "serve"), SandboxConfig: pod})
	if err != nil {
		return "create", err
	}
	if _, err = n.runtime.StartContainer(n.t.Context(), &runtimeapi.StartContainerRequest{ContainerId: c.ContainerId}); err != nil {
		return "start", err
	}
	if _, err := n.runtime.StopPodSandbox(n.t.Context(), &runtimeapi.StopPodSandboxRequest{PodSandboxId: sandbox.PodSandboxId}); err != nil {
		return "stop", err
	}
	return "run", nil
}

// A container whose log finds no room runs on, and its log does when there is room.
func TestLogOnAFullDisk(t *testing.T) {
	n, d := newNodeOnDisk(t)
	pod := n.sandboxConfig("talks")
	pod.LogDirectory = n.path("root", "logs")
	sb := n.runSandbox(pod)
	id := n.run(sb, containerConfig("main", "talk"), pod)
	log := n.path("root", "logs", "main", "0.log")
	n.waitLog(log, "line 100\n")
	d.leave(0)
	size := func() int64 {
		info, err := os.Stat(log)
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	n.eventually("the log has no room", func() bool {
		before := size()
		n.exec(id, "echo", "still", "here")
		return size() == before
	})
	if st := n.status(id); st.State != runtimeapi.ContainerState_CONTAINER_RUNNING {
		t.Errorf("while its log has no room: %v", st)
	}
	d.empty()
	full := size()
	n.eventually("the log goes on", func() bool { return size() > full })
	if _, err := n.runtime.StopContainer(context.Background(), &runtimeapi.StopContainerRequest{ContainerId: id}); err != nil {
		t.Fatal(err)
	}
}
