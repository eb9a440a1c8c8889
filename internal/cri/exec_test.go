// SPDX-License-Identifier: Apache-2.0

package cri

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// othersOf lists the processes of a container but its first, zombies too: those are what a control group's list lacks.
func (n *node) othersOf(id string) []string {
	n.t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		n.t.Fatal(err)
	}
	first := strconv.Itoa(n.pid(id))
	var found []string
	for _, file := range files {
		groups, _ := os.ReadFile(file) // it may just have ended
		dir := filepath.Dir(file)
		if filepath.Base(dir) == first || !strings.Contains(string(groups), id) {
			continue
		}
		state, _ := os.ReadFile(filepath.Join(dir, "stat"))
		found = append(found, strings.TrimSpace(string(state)))
	}
	return found
}

// A command that took too long is gone when the caller is told, not only about to go.
func TestExecTimeoutLeavesNoProcess(t *testing.T) {
	n := newNode(t)
	pod := n.sandboxConfig("web")
	sb := n.runSandbox(pod)
	id := n.run(sb, containerConfig("main", "serve"), pod)
	_, err := n.runtime.ExecSync(t.Context(), &runtimeapi.ExecSyncRequest{ContainerId: id, Cmd: []string{"/pod", "stubborn"}, Timeout: 1})
	if status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("exec beyond its time: %v", err)
	}
	if left := n.othersOf(id); len(left) > 0 {
		t.Errorf("processes left in the container: %q", left)
	}
}
