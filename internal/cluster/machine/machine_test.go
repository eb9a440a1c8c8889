// SPDX-License-Identifier: Apache-2.0

package machine

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"eastwest/internal/cluster/cgroup"
	"eastwest/internal/kernel/netns/netnstest"
)

// newMachine makes a machine that goes when the test ends.
func newMachine(t *testing.T) *Machine {
	t.Helper()
	netnstest.RequireRoot(t)
	hierarchies, err := cgroup.Hierarchies()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	run := filepath.Join(dir, "run")
	if err := os.MkdirAll(run, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("test", run, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("", run, "", unix.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
	group := cgroup.At(hierarchies, "eastwest-test-machine")
	m := New(Config{
		Name: "one", StateDir: filepath.Join(dir, "state"), RunDir: filepath.Join(run, "one"), RunRoot: run,
		Group: group.Child("one"), ProgramDir: dir, ResolvConf: "nameserver 192.0.2.1\n",
	})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		for _, err := range []error{m.Kill(ctx), m.Unpin(), group.Remove(ctx), unix.Unmount(run, unix.MNT_DETACH)} {
			if err != nil {
				t.Error(err)
			}
		}
	})
	if err := m.Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	return m
}

func sh(t *testing.T, m *Machine, script string) string {
	t.Helper()
	var out, errs bytes.Buffer
	err := m.Run(t.Context(), []string{"PATH=" + os.Getenv("PATH")}, Streams{Out: &out, Err: &errs}, "sh", "-c", script)
	if err != nil {
		t.Fatalf("%s: %v: %s", script, err, errs.String())
	}
	return strings.TrimSpace(out.String())
}

func TestMachineSeesItself(t *testing.T) {
	m := newMachine(t)
	for script, want := range map[string]string{
		"hostname":                  "one",
		"cat /etc/hostname":         "one",
		"cat /etc/resolv.conf":      "nameserver 192.0.2.1",
		"ls /sys/class/net":         "lo",
		"ls /run":                   "eastwest\nlock\nnetns",
		"ls -A /tmp /etc/cni/net.d": "/etc/cni/net.d:\n\n/tmp:",
		"ls /run/eastwest/bin":      "run\nstate",
		// Not those of others: tests of other packages run at the same time.
		"grep -c ' " + m.config.RunRoot + "/.* - nsfs ' /proc/self/mountinfo || true":                    "0",
		"ip netns add x && ip netns exec x echo in && ip netns del x":                                    "in",
		"echo mine >/etc/motd && cat /etc/motd":                                                          "mine",
		"ls /var/lib":                                                                                    "eastwest",
		"touch /var/lib/eastwest/x && ls /var/lib/eastwest":                                              "x",
		"for d in $(find /sys/fs/cgroup -name cgroup.procs -maxdepth 2); do test -w $d || echo $d; done": "",
	} {
		if got := sh(t, m, script); got != want {
			t.Errorf("%s: %q, want %q", script, got, want)
		}
	}
	if _, err := os.Stat(filepath.Join(m.Lib(), "x")); err != nil {
		t.Error("the machine's state does not show in its folder:", err)
	}
}

func TestProcessIsRecordedGroupedAndKilled(t *testing.T) {
	m := newMachine(t)
	spec := Spec{Name: "agent", Command: []string{"/bin/sh", "-c", "cat /proc/self/cgroup; sleep 1000 & exec sleep 1000"}, Log: m.LogFile("agent")}
	p, err := m.Start(spec)
	if err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(20 * time.Second)
	for len(m.Group().PIDs()) < 2 && time.Now().Before(deadline) {
		time.Sleep(time.Millisecond)
	}
	records, err := m.Processes()
	if err != nil || records["agent"].ID != p.ID || !records["agent"].Alive() {
		t.Fatalf("recorded %v, want %v; error %v", records, p.ID, err)
	}
	log, err := os.ReadFile(spec.Log)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(log)) {
		if !strings.HasSuffix(strings.TrimSpace(line), ":/agent") {
			t.Errorf("the process sees its control group as %s", line)
		}
	}
	if err := m.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	if left := m.Group().PIDs(); len(left) > 0 || records["agent"].Alive() {
		t.Errorf("%v still run", left)
	}
	if !m.Exists() {
		t.Error("the machine went with its processes")
	}
}

func TestKillFindsAProcessThatLeftItsGroup(t *testing.T) {
	m := newMachine(t)
	p, err := m.Start(Spec{Name: "stray", Command: []string{"/bin/sleep", "1000"}, Log: m.LogFile("stray")})
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range cgroup.At(m.Group().Hierarchies(), "/").Dirs() {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(p.PID)), 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.RemoveAll(m.processDir()); err != nil {
		t.Fatal(err)
	}
	if err := m.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-p.Done()
}
