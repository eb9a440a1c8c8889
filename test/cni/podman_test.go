// SPDX-License-Identifier: Apache-2.0

package cni

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Podman from Debian with its own default network, whose plugins are bridge, portmap, firewall and tuning.
func TestPodman(t *testing.T) { eachWay(t, testPodman) }

func testPodman(t *testing.T, h *host) {
	root := unpack(t, "podman", "golang-github-containers-common", "libgpgme11", "libsubid4", "libassuan0")
	for _, dir := range []string{"/var/lib/cni", "/run/cni", "/run/netns"} {
		h.own(dir)
	}
	h.run("iptables", "-P", "FORWARD", "DROP") // as Docker leaves it
	podman := podmanOf(t, h, root)
	t.Cleanup(func() { _, _ = h.try(podman("rm", "-fa", "-t", "0")...) })
	if info := h.run(podman("info")...); !strings.Contains(info, "networkBackend: cni") {
		t.Fatalf("podman does not use CNI:\n%s", info)
	}
	file := podmanRoot(t, h)
	start := func(name string, args ...string) {
		h.run(podman(append(append([]string{"run", "-d", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024", "--name", name}, args...), "--rootfs", file, "/tool", "serve", "--hostname", name)...)...)
	}
	start("a", "-p", "8080:80", "-p", "127.0.0.1:8081:80")
	start("b")
	for _, address := range []string{"10.88.0.2:80", "127.0.0.1:8080", "127.0.0.1:8081", "10.88.0.1:8080"} {
		if got := h.run("curl", "-sS", "--retry", "5", "--retry-connrefused", "http://"+address); !strings.Contains(got, "a") {
			t.Errorf("%s answers %q", address, got)
		}
	}
	for _, address := range []string{"10.88.0.2:80", "10.88.0.1:8080"} {
		if got, err := h.try(podman("exec", "b", "/tool", "request", "http://"+address)...); err != nil {
			t.Errorf("from b, %s: %v %s", address, err, got)
		}
	}
	h.run(podman("network", "ls")...)
	if out, err := h.try(podman("run", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024", "--name", "c", "-p", "8080:80", "--rootfs", file, "/tool", "serve")...); err == nil {
		t.Errorf("a port that is taken was mapped: %s", out)
	}
	removed := h.run(podman("rm", "-fa", "-t", "0")...)
	left := h.run("nft", "list", "ruleset") + h.run("iptables-save") + h.run("ip", "-o", "link", "show", "type", "veth")
	for _, text := range []string{"10.88.0.2", "10.88.0.3", "8080", "veth"} {
		if strings.Contains(left, text) {
			t.Errorf("%q is left after the containers are gone (%s):\n%s", text, removed, left)
		}
	}
}

// podmanOf configures podman for the host and returns what makes its command lines.
func podmanOf(t *testing.T, h *host, root string) func(args ...string) []string {
	t.Helper()
	network, err := os.ReadFile(filepath.Join(root, "etc/cni/net.d/87-podman-bridge.conflist"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(h.dir, "net.d", "87-podman-bridge.conflist"), string(network))
	write(t, filepath.Join(h.dir, "containers.conf"), fmt.Sprintf(`[network]
network_backend = "cni"
cni_plugin_dirs = [%q]
network_config_dir = %q
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
`, h.plugins, filepath.Join(h.dir, "net.d")))
	h.env = []string{"CONTAINERS_CONF=" + filepath.Join(h.dir, "containers.conf"), "LD_LIBRARY_PATH=" + filepath.Join(root, "usr/lib/x86_64-linux-gnu")}
	return func(args ...string) []string {
		state := filepath.Join(h.dir, "state")
		return append([]string{
			filepath.Join(root, "usr/bin/podman"), "--root", filepath.Join(state, "root"), "--runroot", filepath.Join(state, "run"),
			"--tmpdir", filepath.Join(state, "tmp"), "--storage-driver", "vfs",
		}, args...)
	}
}

// podmanRoot makes a root file system with nothing but the tool in it.
func podmanRoot(t *testing.T, h *host) string {
	t.Helper()
	file := filepath.Join(h.dir, "rootfs")
	tool, err := os.ReadFile(filepath.Join(*programs, "eastwest-tool"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(file, "tool"), string(tool))
	if err := os.Chmod(filepath.Join(file, "tool"), 0o755); err != nil {
		t.Fatal(err)
	}
	return file
}
