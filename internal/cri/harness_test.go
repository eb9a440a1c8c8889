// SPDX-License-Identifier: Apache-2.0

package cri

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"eastwest/internal/cri/images"
	"eastwest/internal/kernel/netns/netnstest"
)

const testImage = "test.local/pod:latest"

// TestMain lets the test binary be the CNI plugin "testnet" as well, which it is linked as.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "testnet" {
		testPlugin()
		return
	}
	if dir := os.Getenv(serveVariable); dir != "" {
		serveUntilKilled(dir)
		return
	}
	code := m.Run()
	podProgram.remove()
	os.Exit(code)
}

// testPlugin gives every pod the same address and keeps a file a pod, beside the plugin, while it is connected.
func testPlugin() {
	file := filepath.Join(filepath.Dir(os.Args[0]), "pod-"+os.Getenv("CNI_CONTAINERID"))
	switch os.Getenv("CNI_COMMAND") {
	case "ADD":
		if err := os.WriteFile(file, []byte(os.Getenv("CNI_ARGS")), 0o600); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		if _, err := os.Stat(filepath.Join(filepath.Dir(os.Args[0]), "broken")); err == nil {
			fmt.Fprintln(os.Stdout, `{"cniVersion":"1.0.0","code":11,"msg":"out of addresses"}`)
			os.Exit(1)
		}
		hang()
		fmt.Fprintln(os.Stdout, `{"cniVersion":"1.0.0","interfaces":[{"name":"eth0","sandbox":"x"}],"ips":[{"address":"10.1.2.3/24","interface":0}]}`)
	case "DEL":
		hang()
		os.Remove(file)
	}
}

// hang waits, while a file beside the plugin says so, for a child that inherits the plugin's output and does not end.
func hang() {
	if _, err := os.Stat(filepath.Join(filepath.Dir(os.Args[0]), "hangs")); err != nil {
		return
	}
	child := exec.Command("sleep", "1000")
	child.Stdout, child.Stderr = os.Stdout, os.Stderr
	_ = child.Run()
}

// program builds the containers' program once.
type program struct {
	once sync.Once
	dir  string
	err  error
}

var podProgram program

func (p *program) path(t testing.TB) string {
	t.Helper()
	p.once.Do(func() {
		if p.dir, p.err = os.MkdirTemp("", "cri-pod"); p.err != nil {
			return
		}
		cmd := exec.Command("go", "build", "-o", filepath.Join(p.dir, "pod"), "./testdata/pod")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			p.err = fmt.Errorf("build test program: %w: %s", err, out)
		}
	})
	if p.err != nil {
		t.Fatal(p.err)
	}
	return filepath.Join(p.dir, "pod")
}

func (p *program) remove() { _ = os.RemoveAll(p.dir) }

// node is a runtime of its own with a client.
type node struct {
	t       testing.TB
	dir     string
	group   string
	server  *Server
	runtime runtimeapi.RuntimeServiceClient
	images  runtimeapi.ImageServiceClient
	halt    func()
}

func newNode(t testing.TB) *node {
	t.Helper()
	return newNodeWith(t, func(*node) {})
}

// newNodeWith has prepare change the node's folder before anything is in it.
func newNodeWith(t testing.TB, prepare func(n *node)) *node {
	t.Helper()
	netnstest.RequireRoot(t)
	for _, p := range []string{"runc", "conmon"} {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("this test needs %s", p)
		}
	}
	dir, err := os.MkdirTemp("", "cri")
	if err != nil {
		t.Fatal(err)
	}
	n := &node{t: t, dir: dir, group: "/" + filepath.Base(dir)}
	t.Cleanup(n.cleanup)
	prepare(n)
	store, err := images.Open(n.path("root"))
	if err != nil {
		t.Fatal(err)
	}
	if err := store.AddBinary(t.Context(), testImage, podProgram.path(t), v1.Config{WorkingDir: "/made", Env: []string{"HOME=/made"}}); err != nil {
		t.Fatal(err)
	}
	n.installNetwork()
	n.start()
	return n
}

func (n *node) path(parts ...string) string {
	return filepath.Join(append([]string{n.dir}, parts...)...)
}

func (n *node) installNetwork() {
	n.t.Helper()
	exe, err := os.Executable()
	if err != nil {
		n.t.Fatal(err)
	}
	for _, d := range []string{"conf", "bin"} {
		if err := os.MkdirAll(n.path(d), 0o755); err != nil {
			n.t.Fatal(err)
		}
	}
	if err := os.Symlink(exe, n.path("bin", "testnet")); err != nil {
		n.t.Fatal(err)
	}
	conf := `{"cniVersion":"1.0.0","name":"test","plugins":[{"type":"testnet"}]}`
	if err := os.WriteFile(n.path("conf", "10-test.conflist"), []byte(conf), 0o644); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) config(log io.Writer) Config {
	return Config{
		Root: n.path("root"), State: n.path("state"), CNIConfDir: n.path("conf"), CNIBinDirs: []string{n.path("bin")},
		NetnsDir: n.path("netns"), CgroupParent: n.group, Log: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	}
}

// start starts a server on what the node has on disk.
func (n *node) start() {
	n.t.Helper()
	server, err := New(context.Background(), n.config(testWriter{n.t}))
	if err != nil {
		n.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx, n.path("cri.sock")) }()
	conn := n.dial("cri.sock")
	n.server, n.runtime, n.images = server, runtimeapi.NewRuntimeServiceClient(conn), runtimeapi.NewImageServiceClient(conn)
	if _, err := n.runtime.Version(n.t.Context(), &runtimeapi.VersionRequest{}, grpc.WaitForReady(true)); err != nil {
		n.t.Fatal(err)
	}
	n.halt = func() {
		conn.Close()
		cancel()
		if err := <-done; err != nil {
			n.t.Error(err)
		}
	}
}

// dial connects to a server that may not be there yet, and does not wait long between tries.
func (n *node) dial(socket string) *grpc.ClientConn {
	n.t.Helper()
	const pause = 10 * time.Millisecond
	conn, err := grpc.NewClient("unix://"+n.path(socket), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: pause, Multiplier: 1, MaxDelay: pause}}))
	if err != nil {
		n.t.Fatal(err)
	}
	return conn
}

// cleanup removes what a test left and fails it when anything remains.
func (n *node) cleanup() {
	if n.halt != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		list, err := n.runtime.ListPodSandbox(ctx, &runtimeapi.ListPodSandboxRequest{})
		if err != nil {
			n.t.Error(err)
		}
		for _, sb := range list.GetItems() {
			if _, err := n.runtime.RemovePodSandbox(ctx, &runtimeapi.RemovePodSandboxRequest{PodSandboxId: sb.Id}); err != nil {
				n.t.Error(err)
			}
		}
		n.halt()
	}
	n.expectNothingLeft()
	for _, own := range []string{"state", "root"} {
		_ = exec.Command("umount", n.path(own)).Run() // the second is one with a disk of its own only
	}
	if err := os.RemoveAll(n.dir); err != nil {
		n.t.Error(err)
	}
	dirs, _ := filepath.Glob("/sys/fs/cgroup/*" + n.group)
	for _, d := range dirs {
		os.Remove(d)
	}
}

// expectNothingLeft looks for mounts, processes, cgroups and network attachments of removed pods.
func (n *node) expectNothingLeft() {
	n.t.Helper()
	for _, what := range n.left() {
		n.t.Error(what)
	}
}

// left lists what there is of pods and containers.
func (n *node) left() (list []string) {
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, n.dir+"/") && !strings.Contains(line, " "+n.path("state")+" ") && !strings.Contains(line, " "+n.path("root")+" ") {
			list = append(list, fmt.Sprintf("mount left: %s", line))
		}
	}
	procs, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, p := range procs {
		if raw, _ := os.ReadFile(p); strings.Contains(string(raw), n.dir+"/state") {
			list = append(list, fmt.Sprintf("process left: %s", strings.ReplaceAll(string(raw), "\x00", " ")))
		}
	}
	groups, _ := filepath.Glob("/sys/fs/cgroup/*" + n.group + "/*/cgroup.procs")
	for _, g := range groups {
		list = append(list, fmt.Sprintf("cgroup left: %s", g))
	}
	for _, pattern := range []string{"bin/pod-*", "netns/*", "root/sandboxes/*", "root/containers/*", "root/images/pins/*", "state/exits/*", "state/runc/*", "state/exec/*", "root/cni/results/*"} {
		left, _ := filepath.Glob(n.path(pattern))
		for _, f := range left {
			list = append(list, fmt.Sprintf("left: %s", f))
		}
	}
	return list
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Logf("%s", strings.TrimSpace(string(p)))
	return len(p), nil
}
