// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"eastwest/internal/cluster/machine"
)

// sh runs a script on a node and returns what it printed.
func (b *bed) sh(t *testing.T, cluster, node, script string) string {
	t.Helper()
	m, err := b.Machine(t.Context(), cluster, node)
	if err != nil {
		t.Fatal(err)
	}
	var out, errs bytes.Buffer
	if err := m.Run(t.Context(), (&Record{}).nodeEnv(), machine.Streams{Out: &out, Err: &errs}, "sh", "-c", script); err != nil {
		t.Fatalf("%s: %v: %s", script, err, errs.String())
	}
	return strings.TrimSpace(out.String())
}

// reach is a script that says yes when a host answers: it refuses a port where nobody listens.
func reach(host string) string {
	return "bash -c 'exec 3<>/dev/tcp/" + host + "/9' 2>&1 | grep -q refused && echo yes"
}

func TestNodesAreMachinesOfTheirOwn(t *testing.T) {
	b := newBed(t, standins())
	r := b.up(t, "t1")
	for _, test := range []struct{ node, script, want string }{
		{"worker", "hostname", "t1-worker"},
		{"worker", "cat /etc/hostname", "t1-worker"},
		{"worker2", "getent hosts t1-control-plane | cut -d' ' -f1", r.ControlPlane().Address().String()},
		{"worker", "cat /var/lib/eastwest/agent/token", "token-of-the-server"},
		{"worker", "touch /etc/mine /opt/mine /tmp/mine /run/mine; ls /etc/mine", "/etc/mine"},
		{"worker2", "ls /etc/mine /opt/mine /tmp/mine /run/mine 2>/dev/null | wc -l", "0"},
		{"worker", "ls /sys/class/net | tr '\\n' ' '", "eth0 lo"},
		{"worker", "ip -4 -o addr show eth0 | awk '{print $4}'", r.Nodes[1].Address().String() + "/16"},
		{"worker", "ip netns add x && ip netns exec x true && ip netns list && ip netns del x", "x"},
		{"worker", "ls /etc/cni/net.d | wc -l", "0"},
		{"worker", "test -e /opt/cni/bin/seen && echo yes", "yes"},
		{"worker", reach("t1-control-plane"), "yes"},
		{"worker", reach(r.Gateways()[0].String()), "yes"},
		{"worker", "mkdir /sys/fs/cgroup/pids/x 2>/dev/null || mkdir /sys/fs/cgroup/x; rmdir /sys/fs/cgroup/pids/x 2>/dev/null || rmdir /sys/fs/cgroup/x; echo yes", "yes"},
	} {
		if got := b.sh(t, "t1", test.node, test.script); got != test.want {
			t.Errorf("%s: %s: %q, want %q", test.node, test.script, got, test.want)
		}
	}
	if exists("/etc/mine") || exists("/opt/mine") || exists("/run/mine") {
		t.Error("a node's file shows on the host")
	}
}

func TestNodesHaveEveryFamily(t *testing.T) {
	for family, networks := range map[IPFamily]int{IPv6: 1, IPDual: 2} {
		t.Run(string(family), func(t *testing.T) {
			b := newBed(t, standins())
			o := b.options("t1")
			o.IPFamily = family
			t.Cleanup(func() { _, _ = b.Down(context.Background(), "t1") })
			r, err := b.Up(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			if len(r.NodeCIDRs) != networks || len(r.Nodes[2].Addresses) != networks {
				t.Fatalf("node networks %v, addresses %v", r.NodeCIDRs, r.Nodes[2].Addresses)
			}
			for i, address := range r.Nodes[2].Addresses {
				for _, to := range []netip.Addr{address, r.Gateways()[i]} {
					if got := b.sh(t, "t1", "worker", reach(to.String())); got != "yes" {
						t.Errorf("%s is not reached from another node: %q", to, got)
					}
				}
				names := b.sh(t, "t1", "worker", "grep worker2 /etc/hosts")
				if !strings.Contains(names, address.String()) {
					t.Errorf("a node knows worker2 as %q, not by %s", names, address)
				}
			}
			if _, err := b.Down(t.Context(), "t1"); err != nil {
				t.Fatal(err)
			}
			b.nothingLeft(t)
		})
	}
}

func TestDownLeavesNothing(t *testing.T) {
	b := newBed(t, standins())
	b.up(t, "t1")
	if found, err := b.Down(t.Context(), "t1"); !found || err != nil {
		t.Fatalf("found %v, error %v", found, err)
	}
	b.nothingLeft(t)
	if exists(b.stateDir("t1")) || exists(b.runDir("t1")) || exists(b.kubeconfig) {
		t.Error("folders or the kubeconfig are left")
	}
	if found, err := b.Down(t.Context(), "t1"); found || err != nil {
		t.Errorf("second time: found %v, error %v", found, err)
	}
}

func TestDownAfterEverythingWasKilled(t *testing.T) {
	b := newBed(t, standins())
	b.up(t, "t1")
	for _, pid := range b.group("t1").PIDs() {
		if pid == os.Getpid() { // a thread that started a process there has yet to end
			continue
		}
		// One that is gone already ended with the process it waited for.
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			t.Error(err)
		}
	}
	if _, err := b.Down(t.Context(), "t1"); err != nil {
		t.Fatal(err)
	}
	b.nothingLeft(t)
	b.up(t, "t1")
}

func TestDownWithoutARecord(t *testing.T) {
	b := newBed(t, standins())
	r := b.up(t, "t1")
	if err := os.Remove(filepath.Join(b.stateDir("t1"), recordFile)); err != nil {
		t.Fatal(err)
	}
	if found, err := b.Down(t.Context(), "t1"); !found || err != nil {
		t.Fatalf("found %v, error %v", found, err)
	}
	after := keep(strings.Split(host(t), "\n"), func(line string) bool { return line != "0" && line != "1" })
	before := keep(strings.Split(b.before, "\n"), func(line string) bool { return line != "0" && line != "1" })
	if len(after) != len(before) {
		t.Errorf("left behind: %v", after)
	}
	// Only the record knew what the switches were before.
	for _, change := range r.Sysctls {
		if err := change.Restore(); err != nil {
			t.Error(err)
		}
	}
}

func TestTwoClustersSideBySide(t *testing.T) {
	b := newBed(t, standins())
	one, two := b.up(t, "t1"), b.up(t, "t2")
	if one.NodeCIDRs[0].Overlaps(two.NodeCIDRs[0]) {
		t.Errorf("%s and %s overlap", one.NodeCIDRs[0], two.NodeCIDRs[0])
	}
	if _, err := b.Down(t.Context(), "t1"); err != nil {
		t.Fatal(err)
	}
	if got := b.sh(t, "t2", "worker", reach("t2-worker2")); got != "yes" {
		t.Error("t2 does not work after t1 is gone")
	}
	if _, err := b.Down(t.Context(), "t2"); err != nil {
		t.Fatal(err)
	}
	b.nothingLeft(t)
}

func TestUpTwice(t *testing.T) {
	b := newBed(t, standins())
	b.up(t, "t1")
	_, err := b.Up(t.Context(), b.options("t1"))
	var exists *ExistsError
	if !errors.As(err, &exists) || !strings.Contains(err.Error(), `"t1"`) {
		t.Errorf("error %v", err)
	}
	if b.sh(t, "t1", "worker", "echo yes") != "yes" {
		t.Error("the first cluster is harmed")
	}
}

func TestUpLeavesTheSameNameUnderOtherFoldersAlone(t *testing.T) {
	b, other := newBed(t, standins()), newBed(t, standins())
	b.up(t, "t1")
	if _, err := other.Up(t.Context(), other.options("t1")); err == nil || !strings.Contains(err.Error(), "--run-dir") {
		t.Errorf("error %v", err)
	}
	if exists(other.stateDir("t1")) {
		t.Error("a folder is left")
	}
	if b.sh(t, "t1", "worker", "echo yes") != "yes" {
		t.Error("the first cluster is harmed")
	}
}

func TestStopKeepsTheMachineAndStartStartsWhatIsMissing(t *testing.T) {
	b := newBed(t, standins())
	b.up(t, "t1")
	b.sh(t, "t1", "worker", "echo kept >/etc/mine")
	if err := b.Stop(t.Context(), "t1", "worker", false); err != nil {
		t.Fatal(err)
	}
	m, err := b.Machine(t.Context(), "t1", "worker")
	if err != nil {
		t.Fatal(err)
	}
	if left := m.Group().PIDs(); len(left) > 0 {
		t.Errorf("processes %v still run", left)
	}
	if err := b.Start(t.Context(), "t1", "worker", 2*time.Minute); err != nil {
		t.Fatal(err)
	}
	if got := b.sh(t, "t1", "worker", "cat /etc/mine; ip -4 -o addr show eth0 | wc -l"); got != "kept\n1" {
		t.Errorf("after the start: %q", got)
	}
	before := b.nodes(t)
	if err := syscall.Kill(before["t1-worker2"].Processes["agent"], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := b.Start(t.Context(), "t1", "", 2*time.Minute); err != nil {
		t.Fatal(err)
	}
	after := b.nodes(t)
	if after["t1-worker2"].Status != StatusRunning || after["t1-worker2"].Processes["agent"] == before["t1-worker2"].Processes["agent"] {
		t.Errorf("killed agent: %v, then %v", before["t1-worker2"], after["t1-worker2"])
	}
	if after["t1-control-plane"].Processes["server"] != before["t1-control-plane"].Processes["server"] {
		t.Error("the server was restarted")
	}
}

func (b *bed) nodes(t *testing.T) map[string]NodeStatus {
	t.Helper()
	list, err := b.Nodes(context.Background(), "t1")
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]NodeStatus{}
	for _, n := range list {
		byName[n.Name] = n
	}
	return byName
}

func TestFailedUpNamesTheProcessAndCleansUp(t *testing.T) {
	programs := standins()
	programs.Agent = func(*Record, Node) []string {
		return []string{"/bin/sh", "-c", "echo the disk is full; exit 3"}
	}
	programs.Ready = func(ctx context.Context, _ ReadyTarget) error { <-ctx.Done(); return ctx.Err() }
	b := newBed(t, programs)
	_, err := b.Up(t.Context(), b.options("t1"))
	var ended *ProcessError
	if !errors.As(err, &ended) || ended.Process != "agent" || !strings.Contains(err.Error(), "the disk is full") {
		t.Errorf("error %v", err)
	}
	b.nothingLeft(t)
}
