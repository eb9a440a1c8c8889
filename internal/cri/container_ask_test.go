// SPDX-License-Identifier: Apache-2.0

package cri

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestHearsByStatus(t *testing.T) {
	const blocked, ignored, caught = "SigBlk:\t0000000000010000\n", "SigIgn:\t0000000000004000\n", "SigCgt:\t0000000180004002\n"
	for _, c := range []struct {
		status string
		sig    syscall.Signal
		want   bool
	}{
		{caught, syscall.SIGTERM, true}, {caught, syscall.SIGINT, true}, {caught, syscall.SIGHUP, false}, {caught, 34 - 1, true},
		{blocked, 17, true}, {blocked, syscall.SIGTERM, false}, {ignored, syscall.SIGTERM, false}, {"", syscall.SIGTERM, false},
	} {
		if got := hearsByStatus("Name:\tx\n"+c.status, c.sig); got != c.want {
			t.Errorf("signal %d with %q: %v, want %v", c.sig, c.status, got, c.want)
		}
	}
}

// The container can hear only after it was asked; the outcome is its own exit code, not that of a kill at the end.
func TestStopBeforeContainerListens(t *testing.T) {
	n := newNode(t)
	pod := n.sandboxConfig("late")
	sb := n.runSandbox(pod)
	id := n.run(sb, containerConfig("main", "late"), pod)
	n.waitLog(n.path("logs", "late", "main", "0.log"), "deaf")
	stopped := make(chan error, 1)
	go func() {
		_, err := n.runtime.StopContainer(t.Context(), &runtimeapi.StopContainerRequest{ContainerId: id, Timeout: 50})
		stopped <- err
	}()
	if out, code := n.exec(id, "write", "/listen"); code != 0 {
		t.Fatal(out)
	}
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	if st := n.status(id); st.GetExitCode() != 0 || st.GetReason() != "Completed" {
		t.Errorf("stopped container: %v", st)
	}
	n.waitLog(n.path("logs", "late", "main", "0.log"), "stdout F bye")
}

// Stopped at any moment of its start, a program that ends when it is asked is not left until it is killed.
func TestStopWhileProgramBegins(t *testing.T) {
	n := newNode(t)
	pod := n.sandboxConfig("begins")
	sb := n.runSandbox(pod)
	for i := range 60 {
		id := n.run(sb, containerConfig(fmt.Sprintf("main%d", i), "serve"), pod)
		time.Sleep(time.Duration(i%4) * 100 * time.Microsecond)
		if _, err := n.runtime.StopContainer(t.Context(), &runtimeapi.StopContainerRequest{ContainerId: id, Timeout: 3}); err != nil {
			t.Fatal(err)
		}
		if st := n.status(id); st.GetExitCode() == 128+int32(syscall.SIGKILL) {
			t.Errorf("container %d had to be killed: %v", i, st)
		}
	}
}
