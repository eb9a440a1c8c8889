// SPDX-License-Identifier: Apache-2.0

package cni

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"eastwest/internal/kernel/netns"
	"eastwest/internal/kubelet/criclient"
)

// Pods' sandboxes in containerd from Debian, with the article's network. The container that holds a sandbox is our server,
// so that a sandbox alone answers.
func TestContainerd(t *testing.T) { eachWay(t, testContainerd) }

func testContainerd(t *testing.T, h *host) {
	leases := h.own("/run/cni-ipam-state")
	c := newContainerd(t, h)
	c.start()
	h.run(c.ctr("images", "import", pauseImage(t))...)
	a := c.sandbox("a", &runtimeapi.PortMapping{HostPort: 8080, ContainerPort: 80}, &runtimeapi.PortMapping{HostPort: 8081, ContainerPort: 80, HostIp: "127.0.0.1"})
	b := c.sandbox("b")
	if got := c.address(a) + " " + c.address(b); got != "10.244.0.2 10.244.0.3" {
		t.Fatalf("the sandboxes have the addresses %s", got)
	}
	c.answers("10.244.0.2:80", "127.0.0.1:8080", "127.0.0.1:8081")
	// From the other sandbox: the server sees that one's own address, at the host's port as well.
	inside := strings.TrimSpace(h.run("sh", "-c", "for n in /run/netns/*; do if nsenter --net=$n ip -o addr | grep -q '10.244.0.3/'; then echo $n; fi; done"))
	for _, address := range []string{"10.244.0.2:80", "10.244.0.1:8080"} {
		if got := h.run("nsenter", "--net="+inside, "curl", "-sS", "-m", "5", "http://"+address); !strings.Contains(got, "hostname: a") || !strings.Contains(got, " 10.244.0.3:") {
			t.Errorf("%s answers to b %q", address, got)
		}
	}
	if _, err := c.run("c", &runtimeapi.PortMapping{HostPort: 8080, ContainerPort: 80}); err == nil || !strings.Contains(err.Error(), "8080") {
		t.Errorf("a host port that is taken: %v", err)
	}
	if left := h.run("ls", leases+"/kindnet"); strings.Contains(left, "10.244.0.4") {
		t.Errorf("the sandbox that failed keeps its address:\n%s", left)
	}
	// A runtime that was killed finds its sandboxes again, which answered all the time.
	c.kill()
	c.answers("10.244.0.2:80", "127.0.0.1:8080")
	c.start()
	for _, id := range []string{a, b} {
		c.remove(id)
	}
	left := h.run("nft", "list", "ruleset") + h.run("ip", "-o", "link", "show", "type", "veth") + h.run("ls", leases+"/kindnet")
	for _, text := range []string{"10.244.0.2", "10.244.0.3", "8080", "veth"} {
		if strings.Contains(left, text) {
			t.Errorf("%q is left after the sandboxes are gone:\n%s", text, left)
		}
	}
}

// containerd is a container runtime on a host.
type containerd struct {
	*host
	root, socket, group string
	cri                 *criclient.Client
	process             *exec.Cmd
	log                 *bytes.Buffer
	ids                 map[string]bool
}

func newContainerd(t *testing.T, h *host) *containerd {
	t.Helper()
	c := &containerd{host: h, root: unpack(t, "containerd"), group: fmt.Sprintf("/eastwest-test-%d", os.Getpid()), ids: map[string]bool{}}
	for _, dir := range []string{"/var/lib/cni", "/run/netns"} {
		h.own(dir)
	}
	own := h.own("/run/containerd")
	c.socket = filepath.Join(own, "containerd.sock")
	h.env = []string{"PATH=" + filepath.Join(c.root, "usr/bin") + ":" + os.Getenv("PATH")}
	// The network as the article writes it, in the version of the specification that it names.
	write(t, filepath.Join(h.dir, "net.d", "10-kindnet.conflist"), strings.Replace(kindnet, "1.1.0", "0.3.1", 1))
	write(t, filepath.Join(h.dir, "containerd.toml"), fmt.Sprintf(`version = 2
root = %q
state = "/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs"]
[grpc]
address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "eastwest.local/pause:latest"
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "native"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = %q
conf_dir = %q
`, filepath.Join(h.dir, "root"), h.plugins, filepath.Join(h.dir, "net.d")))
	var err error
	if c.cri, err = criclient.Dial("unix://"+c.socket, "", nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for id := range c.ids {
			c.remove(id)
		}
		c.kill()
		_ = c.cri.Close()
		groups, _ := filepath.Glob("/sys/fs/cgroup/*" + c.group)
		for _, group := range append(groups, "/sys/fs/cgroup"+c.group) {
			_ = os.Remove(group)
		}
	})
	return c
}

// start starts the runtime and waits until it answers with its network ready.
func (c *containerd) start() {
	c.t.Helper()
	if _, err := c.try("true"); err != nil { // the mount namespace is there
		c.t.Fatal(err)
	}
	c.log = &bytes.Buffer{}
	c.process = exec.Command("nsenter", "-t", strconv.Itoa(c.holder.Pid), "-m", "--", "containerd", "-c", filepath.Join(c.dir, "containerd.toml"))
	c.process.Env = append(os.Environ(), c.env...)
	c.process.Stdout, c.process.Stderr = c.log, c.log
	if err := netns.Do(c.ns, c.process.Start); err != nil {
		c.t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		status, err := c.cri.Runtime.Status(context.Background(), &runtimeapi.StatusRequest{})
		ready := err == nil
		for _, condition := range status.GetStatus().GetConditions() {
			ready = ready && condition.GetStatus()
		}
		if ready {
			return
		}
		if time.Now().After(deadline) {
			c.kill()
			c.t.Fatalf("containerd does not become ready: %v, %v\n%s", status, err, c.log)
		}
	}
}

func (c *containerd) kill() {
	if c.process != nil {
		_ = c.process.Process.Kill()
		_ = c.process.Wait()
		c.process = nil
	}
}

func (c *containerd) ctr(args ...string) []string {
	return append([]string{filepath.Join(c.root, "usr/bin/ctr"), "--namespace", "k8s.io"}, args...)
}

func (c *containerd) run(name string, ports ...*runtimeapi.PortMapping) (string, error) {
	response, err := c.cri.Runtime.RunPodSandbox(context.Background(), &runtimeapi.RunPodSandboxRequest{Config: &runtimeapi.PodSandboxConfig{
		Metadata: &runtimeapi.PodSandboxMetadata{Name: name, Namespace: "default", Uid: name},
		Hostname: name, PortMappings: ports, Linux: &runtimeapi.LinuxPodSandboxConfig{CgroupParent: c.group},
	}})
	return response.GetPodSandboxId(), err
}

// sandbox runs a sandbox, which is removed when the test ends at the latest.
func (c *containerd) sandbox(name string, ports ...*runtimeapi.PortMapping) string {
	c.t.Helper()
	id, err := c.run(name, ports...)
	if err != nil {
		c.t.Fatalf("run sandbox %s: %v\n%s", name, err, c.log)
	}
	c.ids[id] = true
	return id
}

func (c *containerd) address(id string) string {
	c.t.Helper()
	response, err := c.cri.Runtime.PodSandboxStatus(context.Background(), &runtimeapi.PodSandboxStatusRequest{PodSandboxId: id})
	if err != nil {
		c.t.Fatal(err)
	}
	return response.GetStatus().GetNetwork().GetIp()
}

func (c *containerd) remove(id string) {
	c.t.Helper()
	delete(c.ids, id)
	ctx := context.Background()
	if _, err := c.cri.Runtime.StopPodSandbox(ctx, &runtimeapi.StopPodSandboxRequest{PodSandboxId: id}); err != nil {
		c.t.Errorf("stop sandbox: %v", err)
	}
	if _, err := c.cri.Runtime.RemovePodSandbox(ctx, &runtimeapi.RemovePodSandboxRequest{PodSandboxId: id}); err != nil {
		c.t.Errorf("remove sandbox: %v", err)
	}
}

// answers asks the sandbox a.
func (c *containerd) answers(addresses ...string) {
	c.t.Helper()
	for _, address := range addresses {
		if got := c.host.run("curl", "-sS", "-m", "5", "--retry", "5", "--retry-connrefused", "http://"+address); !strings.Contains(got, "hostname: a") {
			c.t.Errorf("%s answers %q", address, got)
		}
	}
}

// pauseImage writes the archive of an image that holds nothing but our server, and serves.
func pauseImage(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	content, file := filepath.Join(dir, "layer.tar"), filepath.Join(dir, "pause.tar")
	if out, err := exec.Command("tar", "-C", *programs, "-cf", content, "eastwest-tool").CombinedOutput(); err != nil {
		t.Fatalf("pack the server: %v\n%s", err, out)
	}
	layer, err := tarball.LayerFromFile(content)
	if err != nil {
		t.Fatal(err)
	}
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.Architecture, config.OS, config.Config.Entrypoint = runtime.GOARCH, "linux", []string{"/eastwest-tool", "serve"}
	if image, err = mutate.ConfigFile(image, config); err != nil {
		t.Fatal(err)
	}
	if err := tarball.WriteToFile(file, name.MustParseReference("eastwest.local/pause:latest"), image); err != nil {
		t.Fatal(err)
	}
	return file
}
