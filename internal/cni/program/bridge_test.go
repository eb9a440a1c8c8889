// SPDX-License-Identifier: Apache-2.0

package program_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containernetworking/cni/libcni"

	"eastwest/internal/cni/cnitest"
)

// bridged is podman's default network but for its firewall: bridge with everything on, and portmap.
const bridged = `{
  "cniVersion": "1.1.0",
  "name": "podman",
  "plugins": [
    {
      "type": "bridge",
      "bridge": "cni-podman0",
      "isGateway": true,
      "isDefaultGateway": true,
      "ipMasq": true,
      "hairpinMode": true,
      "mtu": 1450,
      "ipam": {
        "type": "host-local",
        "dataDir": %q,
        "ranges": [[{"subnet": "10.88.0.0/16", "gateway": "10.88.0.1"}], [{"subnet": "fd00:88::/64"}]]
      }
    },
    {
      "type": "portmap",
      "capabilities": {"portMappings": true}
    }
  ]
}`

func TestBridge(t *testing.T) {
	node := cnitest.NewNode(t)
	node.Run("ip", "link", "set", "lo", "up")
	list := cnitest.List(t, fmt.Sprintf(bridged, filepath.Join(t.TempDir(), "leases")))
	a, b, outside := cnitest.Pod(t, "a"), cnitest.Pod(t, "b"), cnitest.Pod(t, "outside")
	a.CapabilityArgs = mapPorts(map[string]any{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"})
	result := node.Add(list, a)
	node.Add(list, b)
	if got := result.Interfaces[0].Name + " " + result.Interfaces[2].Name; got != "cni-podman0 eth0" {
		t.Errorf("interfaces = %s", got)
	}
	if got := cnitest.RunIn(t, a.NetNS, "ip", "link"); !strings.Contains(got, "mtu 1450") {
		t.Errorf("the container's MTU is not 1450:\n%s", got)
	}
	connectOutside(t, node, outside.NetNS)
	cnitest.Serve(t, a.NetNS, "a", 80)
	cnitest.Serve(t, outside.NetNS, "outside", 80)
	cnitest.Expect(t, b.NetNS, "tcp", "10.88.0.2:80", "a 10.88.0.3")
	cnitest.Expect(t, b.NetNS, "tcp", "[fd00:88::2]:80", "a fd00:88::3")
	cnitest.Expect(t, node.NS, "tcp", "10.88.0.2:80", "a 10.88.0.1")
	cnitest.Expect(t, node.NS, "tcp", "127.0.0.1:8080", "a 10.88.0.1")
	cnitest.Expect(t, a.NetNS, "tcp", "10.88.0.1:8080", "a 10.88.0.1")
	cnitest.Expect(t, b.NetNS, "tcp", "10.88.0.1:8080", "a 10.88.0.1")
	cnitest.Expect(t, b.NetNS, "tcp", "[fd00:88::1]:8080", "a fd00:88::1")
	cnitest.Expect(t, b.NetNS, "tcp", "192.0.2.2:80", "outside 192.0.2.1")
	if err := node.Check(list, a); err != nil {
		t.Errorf("CHECK: %v", err)
	}
	if err := node.GC(list, a); err != nil {
		t.Errorf("GC: %v", err)
	}
	for range 2 {
		if err := node.Del(list, a); err != nil {
			t.Errorf("DEL: %v", err)
		}
	}
	if got := node.Run("ip", "-o", "link", "show", "type", "veth") + node.Rules(); strings.Contains(got, "podman/") || strings.Contains(got, "master") {
		t.Errorf("after GC and DEL the node still has\n%s", got)
	}
}

// A bridge whose last port is gone has no hardware address, if it never was given one.
// When ADD is done the bridge forwards to the container's port: both ends are in operation.
func TestPortsAreInOperationAfterAdd(t *testing.T) {
	node := cnitest.NewNode(t)
	list := cnitest.List(t, `{"cniVersion": "1.1.0", "name": "net", "plugins": [{"type": "bridge", "bridge": "br7"}]}`)
	for n := range 20 {
		pod := cnitest.Pod(t, fmt.Sprintf("p%d", n))
		veth := node.Add(list, pod).Interfaces[1].Name
		port, inside := node.Run("bridge", "link", "show", "dev", veth), cnitest.RunIn(t, pod.NetNS, "ip", "link", "show", "dev", "eth0")
		if !strings.Contains(port, "state forwarding") || !strings.Contains(inside, "state UP") {
			t.Errorf("after ADD %d:\n%s%s", n, port, inside)
		}
	}
}

func TestBridgeThatHasLostItsPorts(t *testing.T) {
	node := cnitest.NewNode(t)
	node.Run("sh", "-c", `ip link add cni-podman0 type bridge && ip link add port type veth peer other &&
		ip link set port master cni-podman0 && ip link del port`)
	if got := node.Run("ip", "link", "show", "cni-podman0"); !strings.Contains(got, "ether 00:00:00:00:00:00") {
		t.Fatalf("the bridge has an address:\n%s", got)
	}
	list := cnitest.List(t, fmt.Sprintf(bridged, filepath.Join(t.TempDir(), "leases")))
	pod := cnitest.Pod(t, "a")
	result := node.Add(list, pod)
	if err := node.Check(list, pod); err != nil {
		t.Error(err)
	}
	if got := node.Run("ip", "link", "show", "cni-podman0"); !strings.Contains(got, result.Interfaces[0].Mac) {
		t.Errorf("the result names %s as the bridge's address:\n%s", result.Interfaces[0].Mac, got)
	}
}

func TestBridgeRefusesWrongConfigurations(t *testing.T) {
	node := cnitest.NewNode(t)
	for change, want := range map[string]string{
		`"promiscMode": true,`:                          "cannot set hairpin mode and promiscuous mode",
		`"vlan": 4095,`:                                 "invalid VLAN ID 4095",
		`"vlanTrunk": [{"minID": 7}],`:                  "maxID is missing",
		`"vlanTrunk": [{"maxID": 7}],`:                  "minID is missing",
		`"vlanTrunk": [{"minID": 9, "maxID": 8}],`:      "minID is greater than maxID",
		`"vlanTrunk": [{"minID": 0, "maxID": 8}],`:      "incorrect trunk minID",
		`"vlanTrunk": [{"minID": 1, "maxID": 5000}],`:   "incorrect trunk maxID",
		`"vlanTrunk": [{"id": 0}],`:                     "incorrect trunk id",
		`"ipspoofchk": true, "vlanTrunk": [{"id": 5}],`: "ipspoofchk and vlanTrunk exclude each other",
	} {
		conf := strings.Replace(bridged, `"isGateway"`, change+`"isGateway"`, 1)
		list := cnitest.List(t, fmt.Sprintf(conf, filepath.Join(t.TempDir(), "leases")))
		_, err := node.TryAdd(list, cnitest.Pod(t, "x"))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error = %v, want one about %q", change, err, want)
		}
	}
}

func TestContainersKeepTheirHardwareAddress(t *testing.T) {
	node := cnitest.NewNode(t)
	conf := strings.Replace(bridged, `"isGateway"`, `"macspoofchk": true, "isGateway"`, 1)
	list := cnitest.List(t, fmt.Sprintf(conf, filepath.Join(t.TempDir(), "leases")))
	a, b, honest := cnitest.Pod(t, "a"), cnitest.Pod(t, "b"), cnitest.Pod(t, "honest")
	for _, p := range []*libcni.RuntimeConf{a, b, honest} {
		node.Add(list, p)
	}
	cnitest.Serve(t, a.NetNS, "a", 80)
	cnitest.Expect(t, b.NetNS, "tcp", "10.88.0.2:80", "a 10.88.0.3")
	cnitest.RunIn(t, b.NetNS, "ip", "link", "set", "eth0", "address", "02:00:00:00:00:99")
	cnitest.RunIn(t, b.NetNS, "ip", "neigh", "flush", "dev", "eth0")
	if answer, err := cnitest.Ask(b.NetNS, "tcp", "10.88.0.2:80"); err == nil {
		t.Errorf("with another hardware address the answer is %q", answer)
	}
	cnitest.Expect(t, honest.NetNS, "tcp", "10.88.0.2:80", "a 10.88.0.4")
	for range 2 {
		if err := node.Del(list, b); err != nil {
			t.Errorf("DEL: %v", err)
		}
	}
	if err := node.GC(list, a); err != nil {
		t.Errorf("GC: %v", err)
	}
	if err := node.Check(list, a); err != nil {
		t.Errorf("CHECK after GC: %v", err)
	}
	got := node.Run("nft", "list", "table", "bridge", "nat")
	if strings.Contains(got, "b-eth0") || strings.Contains(got, "honest-eth0") || !strings.Contains(got, "a-eth0") {
		t.Errorf("after DEL and GC of the others the node has\n%s", got)
	}
	if err := node.Del(list, a); err != nil {
		t.Errorf("DEL: %v", err)
	}
	if got := node.Run("nft", "list", "table", "bridge", "nat"); strings.Contains(got, "eth0") {
		t.Errorf("after the last DEL the node has\n%s", got)
	}
}
