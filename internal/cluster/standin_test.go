// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"testing"
	"time"

	"eastwest/internal/kernel/netns/netnstest"
)

// server stands in for the API server: it writes what the server writes, and stays.
const server = `umask 077; cd /var/lib/eastwest/server
cat >admin.kubeconfig <<END
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://172.18.0.2:6443"}}]
users: [{name: u, user: {token: secret}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
END
echo token-of-the-server >token
exec sleep 1000.5`

// standins is a cluster's programs without Kubernetes: they write files, start a child of their own, and stay. No other
// package's tests sleep for half seconds, so what is left of these can be told from what runs beside them.
func standins() Programs {
	return Programs{
		Standins: true,
		Server:   func(*Record) []string { return []string{"/bin/sh", "-c", server} },
		Agent: func(_ *Record, node Node) []string {
			return []string{"/bin/sh", "-c", `test "$(hostname)" = ` + node.Name + ` && cat /var/lib/eastwest/agent/token && sleep 1001.5 & exec sleep 1002.5`}
		},
		Relay:   func(*Record, string) []string { return []string{"/bin/sleep", "1003.5"} },
		Install: func() []string { return []string{"/bin/sh", "-c", "ls /run/eastwest/bin >/opt/cni/bin/seen"} },
		Ready:   func(ctx context.Context, t ReadyTarget) error { _, err := awaitFile(ctx, t.Kubeconfig); return err },
	}
}

// bed is one test's place for clusters.
type bed struct {
	*Clusters
	kubeconfig string
	before     string
}

func newBed(t *testing.T, programs Programs) *bed {
	t.Helper()
	netnstest.RequireRoot(t)
	dir := t.TempDir()
	b := &bed{kubeconfig: filepath.Join(dir, "kubeconfig"), before: host(t)}
	clusters, err := New(Config{
		StateDir: filepath.Join(dir, "state"), RunDir: filepath.Join(dir, "run"), ProgramDir: dir, Programs: programs,
		Progress: func(text string) { t.Log(text) },
	})
	if err != nil {
		t.Fatal(err)
	}
	b.Clusters = clusters
	return b
}

func (b *bed) options(name string) Options {
	o := DefaultOptions()
	o.Name, o.Kubeconfig, o.Wait = name, b.kubeconfig, 2*time.Minute
	return o
}

// up starts a cluster that is removed when the test ends, whatever happens.
func (b *bed) up(t *testing.T, name string) *Record {
	t.Helper()
	t.Cleanup(func() {
		if _, err := b.Down(context.Background(), name); err != nil {
			t.Error(err)
		}
	})
	record, err := b.Up(t.Context(), b.options(name))
	if err != nil {
		t.Fatal(err)
	}
	return record
}

// nothingLeft compares the host with what it was.
func (b *bed) nothingLeft(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		after := host(t)
		if after == b.before {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("left behind.\nbefore:\n%s\nafter:\n%s", b.before, after)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// host is what the clusters of these tests, t1 and t2, could leave behind, whatever others do beside them: links, mounts,
// tables, control groups, processes, folders.
func host(t *testing.T) string {
	t.Helper()
	script := `ip -o link | grep -o 'ew[-n].*' | grep -vE 'ew-([^t]|t[^12]|t[12][^: ])' | cut -d: -f1
grep -o '/[^ ]*clusters/t[12][^ ]*' /proc/self/mountinfo
nft list tables | grep 'eastwest_t[12]$'
ls -d /sys/fs/cgroup/*/eastwest/t[12] /sys/fs/cgroup/eastwest/t[12] 2>/dev/null
pgrep -fa 'sleep 100[0-9]\.5'
cat /proc/sys/net/ipv4/conf/*/forwarding /proc/sys/net/ipv6/conf/*/force_forwarding 2>/dev/null | sort -u
true`
	out, err := exec.Command("sh", "-c", script).Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(out), "\n")
	lines = keep(lines, func(line string) bool { return !strings.Contains(line, "pgrep") })
	sort.Strings(lines)
	return strings.Join(lines, "\n")
}

func keep(lines []string, want func(string) bool) []string {
	var kept []string
	for _, line := range lines {
		if want(line) {
			kept = append(kept, line)
		}
	}
	return kept
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
