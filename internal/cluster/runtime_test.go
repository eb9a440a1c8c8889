// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"encoding/json"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// testRecord is a cluster of one node on a container runtime.
func testRecord(runtime string) *Record {
	return &Record{
		Name: "x", CRI: runtime, Mirrors: []string{"docker.io=https://mirror.example", "docker.io=http://10.0.0.5:5000", "quay.io=https://mirror.example"},
		Nodes: []Node{{Name: "x-control-plane", Role: RoleControlPlane, Addresses: []netip.Addr{netip.MustParseAddr("172.18.0.2")}}},
	}
}

func TestMirrorsReachEveryRuntime(t *testing.T) {
	for _, runtime := range []string{"", RuntimeContainerd, RuntimeDocker} {
		r := testRecord(runtime)
		command := strings.Join(agentCommand(r, r.Nodes[0]), " ")
		if !strings.Contains(command, "--registry-mirror docker.io=https://mirror.example --registry-mirror docker.io=http://10.0.0.5:5000") {
			t.Errorf("%q: the agent is started as %s", runtime, command)
		}
	}
	want := `registry.mirrors."docker.io"]` + "\n" + `endpoint = ["https://mirror.example", "http://10.0.0.5:5000", ]`
	if got := containerdConfig(testRecord(RuntimeContainerd)); !strings.Contains(got, want) {
		t.Errorf("containerd is configured as\n%s", got)
	}
	var docker struct {
		Mirrors []string `json:"registry-mirrors"`
	}
	if err := json.Unmarshal([]byte(dockerConfig(testRecord(RuntimeDocker))), &docker); err != nil || !slices.Equal(docker.Mirrors, []string{"https://mirror.example", "http://10.0.0.5:5000"}) {
		t.Errorf("docker has the mirrors %q: %v", docker.Mirrors, err)
	}
	for _, wrong := range []string{"docker.io", "=https://x", "docker.io=mirror.example", "docker.io=ftp://x"} {
		if checkMirrors([]string{wrong}) == nil {
			t.Errorf("%q was taken for a mirror", wrong)
		}
	}
}

func TestRuntimeThatIsNotThere(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	_, err := findRuntime(testRecord(RuntimeContainerd))
	if err == nil || !strings.Contains(err.Error(), "containerd, containerd-shim-runc-v2, ctr, runc") || !strings.Contains(err.Error(), "install containerd, runc") {
		t.Errorf("nothing is there: %v", err)
	}
	for _, p := range containerdRuntime().programs {
		if err := os.WriteFile(filepath.Join(dir, p.program), []byte("#!/bin/sh\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// A test's folder is below /tmp, of which a node has one of its own.
	if found, err := findRuntime(testRecord(RuntimeContainerd)); strings.HasPrefix(dir, "/tmp/") && (err == nil || !strings.Contains(err.Error(), "a folder of their own")) {
		t.Errorf("found %q: %v", found, err)
	}
	if found, err := findRuntime(testRecord("")); found != nil || err != nil {
		t.Errorf("the built-in runtime needs %q: %v", found, err)
	}
}
