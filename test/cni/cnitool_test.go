// SPDX-License-Identifier: Apache-2.0

package cni

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"eastwest/internal/kernel/netns/netnstest"
)

// kindnet is the article's network, in a version of the specification that has every verb.
const kindnet = `{
  "cniVersion": "1.1.0",
  "name": "kindnet",
  "plugins": [
    {
      "type": "ptp",
      "ipMasq": false,
      "ipam": {
        "type": "host-local",
        "dataDir": "/run/cni-ipam-state",
        "routes": [{"dst": "0.0.0.0/0"}],
        "ranges": [[{"subnet": "10.244.0.0/24"}]]
      },
      "mtu": 1500
    },
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}`

func TestCnitool(t *testing.T) { eachWay(t, testCnitool) }

func testCnitool(t *testing.T, h *host) {
	tool := filepath.Join(h.dir, "cnitool")
	if out, err := exec.Command("go", "build", "-o", tool, "github.com/containernetworking/cni/cnitool").CombinedOutput(); err != nil {
		t.Fatalf("build cnitool: %v\n%s", err, out)
	}
	write(t, filepath.Join(h.dir, "net.d", "10-kindnet.conflist"), kindnet)
	h.env = []string{
		"NETCONFPATH=" + filepath.Join(h.dir, "net.d"), "CNI_PATH=" + h.plugins,
		`CAP_ARGS={"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]}`,
	}
	h.own("/var/lib/cni")
	leases := h.own("/run/cni-ipam-state")
	pod := netnstest.New(t)
	added := h.run(tool, "add", "kindnet", pod)
	if !strings.Contains(added, `"address": "10.244.0.2/24"`) {
		t.Errorf("add printed %s", added)
	}
	h.run(tool, "check", "kindnet", pod)
	h.run(tool, "status", "kindnet", pod)
	if out, err := h.try(tool, "add", "kindnet", pod); err == nil || !strings.Contains(out, "already has an interface eth0") {
		t.Errorf("a second add: %v, %s", err, out)
	}
	h.run(tool, "del", "kindnet", pod)
	h.run(tool, "del", "kindnet", pod)
	if out, err := h.try(tool, "check", "kindnet", pod); err == nil {
		t.Errorf("check after del: %s", out)
	}
	h.run(tool, "add", "kindnet", pod)
	h.run(tool, "gc", "kindnet", pod)
	left := h.run("ip", "-o", "link") + h.run("nft", "list", "ruleset") + h.run("ls", leases+"/kindnet")
	for _, text := range []string{"veth", "8080", "10.244.0"} {
		if strings.Contains(left, text) {
			t.Errorf("%q is left after gc:\n%s", text, left)
		}
	}
}
