// SPDX-License-Identifier: Apache-2.0

package program_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containernetworking/cni/libcni"
	"github.com/vishvananda/netlink"

	"eastwest/internal/cni/cnitest"
	"eastwest/internal/kernel/link"
	"eastwest/internal/kernel/netns"
)

func TestMain(m *testing.M) {
	cnitest.Main()
	os.Exit(m.Run())
}

// kindnet is the article's 10-kindnet.conflist; %s is the place of the leases, /run/cni-ipam-state in the article.
const kindnet = `{
  "cniVersion": "%s",
  "name": "kindnet",
  "plugins": [
    {
      "type": "ptp",
      "ipMasq": false,
      "ipam": {
        "type": "host-local",
        "dataDir": %q,
        "routes": [%s],
        "ranges": [%s]
      },
      "mtu": 1500
    },
    {
      "type": "portmap",
      "capabilities": {
        "portMappings": true
      }
    }
  ]
}`

func article(t *testing.T, version string) string {
	return fmt.Sprintf(kindnet, version, filepath.Join(t.TempDir(), "leases"), `{"dst": "0.0.0.0/0"}`, `[{"subnet": "10.244.1.0/24"}]`)
}

func dualStack(t *testing.T, version string) string {
	return fmt.Sprintf(kindnet, version, filepath.Join(t.TempDir(), "leases"), `{"dst": "0.0.0.0/0"}, {"dst": "::/0"}`,
		`[{"subnet": "10.244.1.0/24"}], [{"subnet": "fd00:10:244:1::/64"}]`)
}

func mapPorts(mappings ...map[string]any) map[string]any {
	return map[string]any{"portMappings": mappings}
}

func TestArticlesPicture(t *testing.T) {
	node := cnitest.NewNode(t)
	list := cnitest.List(t, article(t, "0.3.1"))
	pod := cnitest.Pod(t, "server")
	result := node.Add(list, pod)

	if got := result.IPs[0].Address.String(); got != "10.244.1.2/24" {
		t.Errorf("address = %s, want 10.244.1.2/24", got)
	}
	veth := result.Interfaces[0].Name
	for _, want := range []struct{ what, text string }{
		{node.Run("ip", "addr"), "inet 10.244.1.1/32 scope global " + veth},
		{node.Run("ip", "route"), "10.244.1.2 dev " + veth},
		{cnitest.RunIn(t, pod.NetNS, "ip", "addr"), "inet 10.244.1.2/24"},
		{cnitest.RunIn(t, pod.NetNS, "ip", "addr"), "mtu 1500"},
		{cnitest.RunIn(t, pod.NetNS, "ip", "route"), "default via 10.244.1.1 dev eth0"},
		{cnitest.RunIn(t, pod.NetNS, "ip", "route"), "10.244.1.0/24 via 10.244.1.1 dev eth0 src 10.244.1.2"},
		{cnitest.RunIn(t, pod.NetNS, "ip", "route"), "10.244.1.1 dev eth0 scope link src 10.244.1.2"},
	} {
		if !strings.Contains(want.what, want.text) {
			t.Errorf("%q is not in\n%s", want.text, want.what)
		}
	}
	if err := node.Del(list, pod); err != nil {
		t.Fatal(err)
	}
	if got := node.Run("ip", "-o", "link"); strings.Contains(got, "veth") {
		t.Errorf("after DEL the node still has\n%s", got)
	}
}

// A route may name a gateway of the subnet that is not the container's own, in each family.
func TestRoutesOverOtherGateways(t *testing.T) {
	node, pod := cnitest.NewNode(t), cnitest.Pod(t, "a")
	list := cnitest.List(t, fmt.Sprintf(`{"cniVersion": "1.1.0", "name": "net", "plugins": [{"type": "ptp", "ipam": {"type": "host-local", "dataDir": %q,
		"ranges": [[{"subnet": "10.244.1.0/24"}], [{"subnet": "fd00:10:244:1::/64"}]],
		"routes": [{"dst": "0.0.0.0/0"}, {"dst": "192.0.2.0/24", "gw": "10.244.1.77"}, {"dst": "198.51.100.0/24", "gw": "10.244.1.77"}, {"dst": "2001:db8::/64", "gw": "fd00:10:244:1::77"}]}}]}`,
		filepath.Join(t.TempDir(), "leases")))
	node.Add(list, pod)
	routes := cnitest.RunIn(t, pod.NetNS, "sh", "-c", "ip route; ip -6 route")
	for _, want := range []string{"192.0.2.0/24 via 10.244.1.77 dev eth0", "198.51.100.0/24 via 10.244.1.77 dev eth0", "2001:db8::/64 via fd00:10:244:1::77 dev eth0", "default via 10.244.1.1 dev eth0"} {
		if !strings.Contains(routes, want) {
			t.Errorf("%q is not in\n%s", want, routes)
		}
	}
	if err := node.Check(list, pod); err != nil {
		t.Errorf("CHECK: %v", err)
	}
}

func TestPodsReachEachOtherAndHostPorts(t *testing.T) {
	for _, version := range []string{"0.3.1", "1.1.0"} {
		t.Run(version, func(t *testing.T) {
			node := cnitest.NewNode(t)
			node.Run("ip", "link", "set", "lo", "up")
			list := cnitest.List(t, dualStack(t, version))
			a, b := cnitest.Pod(t, "a"), cnitest.Pod(t, "b")
			a.CapabilityArgs = mapPorts(
				map[string]any{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"},
				map[string]any{"hostPort": 8080, "containerPort": 80, "protocol": "udp"},
			)
			node.Add(list, a)
			node.Add(list, b)
			for _, p := range []string{a.NetNS, b.NetNS} {
				cnitest.RunIn(t, p, "ip", "link", "set", "lo", "up")
			}
			cnitest.Serve(t, a.NetNS, "a", 80)
			for _, network := range []string{"tcp", "udp"} {
				cnitest.Expect(t, b.NetNS, network, "10.244.1.2:80", "a 10.244.1.3")
				cnitest.Expect(t, b.NetNS, network, "[fd00:10:244:1::2]:80", "a fd00:10:244:1::3")
				cnitest.Expect(t, b.NetNS, network, "10.244.1.1:8080", "a 10.244.1.3")
				cnitest.Expect(t, b.NetNS, network, "[fd00:10:244:1::1]:8080", "a fd00:10:244:1::3")
				cnitest.Expect(t, node.NS, network, "127.0.0.1:8080", "a 10.244.1.1")
				cnitest.Expect(t, a.NetNS, network, "10.244.1.1:8080", "a 10.244.1.1")
			}
			if version != "0.3.1" {
				if err := node.Check(list, a); err != nil {
					t.Errorf("CHECK: %v", err)
				}
			}
			for range 2 {
				if err := node.Del(list, a); err != nil {
					t.Errorf("DEL: %v", err)
				}
			}
			if got := node.Rules(); strings.Contains(got, "10.244.1.2") || strings.Contains(got, "8080") {
				t.Errorf("after DEL the node still has\n%s", got)
			}
		})
	}
}

func TestHostPortOfAnotherIsRefusedWithBothNamed(t *testing.T) {
	node := cnitest.NewNode(t)
	list := cnitest.List(t, article(t, "1.0.0"))
	a, b := cnitest.Pod(t, "first"), cnitest.Pod(t, "second")
	a.CapabilityArgs = mapPorts(map[string]any{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"})
	b.CapabilityArgs = a.CapabilityArgs
	node.Add(list, a)
	_, err := node.TryAdd(list, b)
	if err == nil || !strings.Contains(err.Error(), "container first") || !strings.Contains(err.Error(), "container second") {
		t.Errorf("error = %v, want one that names both containers", err)
	}
	_ = node.Del(list, b)
	if err := node.Check(list, a); err != nil {
		t.Errorf("the first container's mapping is damaged: %v", err)
	}
	if err := node.Del(list, a); err != nil {
		t.Fatal(err)
	}
	node.Add(list, b)
}

func TestAddTwiceLeavesTheFirst(t *testing.T) {
	node := cnitest.NewNode(t)
	list := cnitest.List(t, article(t, "1.0.0"))
	pod := cnitest.Pod(t, "twice")
	node.Add(list, pod)
	_, err := node.TryAdd(list, pod)
	if err == nil || !strings.Contains(err.Error(), "container twice") || !strings.Contains(err.Error(), "eth0") {
		t.Errorf("error = %v, want one that names container and interface", err)
	}
	if err := node.Check(list, pod); err != nil {
		t.Errorf("CHECK after the second ADD: %v", err)
	}
}

func TestDelWithTheNamespaceGone(t *testing.T) {
	node := cnitest.NewNode(t)
	dir := filepath.Join(t.TempDir(), "leases")
	list := cnitest.List(t, fmt.Sprintf(kindnet, "0.3.1", dir, "", `[{"subnet": "10.244.1.0/24"}]`))
	pod := cnitest.Pod(t, "gone")
	node.Add(list, pod)
	if err := netns.Remove(pod.NetNS); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := node.Del(list, pod); err != nil {
			t.Errorf("DEL: %v", err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "kindnet", "10.244.1.2")); !os.IsNotExist(err) {
		t.Errorf("the address is still held: %v", err)
	}
}

func TestGCKeepsWhatIsValid(t *testing.T) {
	node := cnitest.NewNode(t)
	list := cnitest.List(t, article(t, "1.1.0"))
	kept, dropped := cnitest.Pod(t, "kept"), cnitest.Pod(t, "dropped")
	kept.CapabilityArgs = mapPorts(map[string]any{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"})
	dropped.CapabilityArgs = mapPorts(map[string]any{"hostPort": 8081, "containerPort": 80, "protocol": "tcp"})
	node.Add(list, kept)
	node.Add(list, dropped)
	for range 2 {
		if err := node.GC(list, kept); err != nil {
			t.Fatalf("GC: %v", err)
		}
	}
	if err := node.Check(list, kept); err != nil {
		t.Errorf("CHECK of what was kept: %v", err)
	}
	state := node.Rules() + node.Run("ip", "addr") + node.Run("ip", "route")
	if strings.Contains(state, "dropped") || strings.Contains(state, "10.244.1.3") {
		t.Errorf("after GC there still is\n%s", state)
	}
	if err := node.Status(list); err != nil {
		t.Errorf("STATUS: %v", err)
	}
}

func TestMasquerade(t *testing.T) {
	node := cnitest.NewNode(t)
	conf := strings.ReplaceAll(article(t, "1.1.0"), `"ipMasq": false`, `"ipMasq": true`)
	list := cnitest.List(t, conf)
	a, b, outside := cnitest.Pod(t, "a"), cnitest.Pod(t, "b"), cnitest.Pod(t, "outside")
	node.Add(list, a)
	node.Add(list, b)
	connectOutside(t, node, outside.NetNS)
	for _, p := range []string{outside.NetNS, a.NetNS} {
		cnitest.Serve(t, p, "server", 80)
	}
	cnitest.Expect(t, b.NetNS, "tcp", "10.244.1.2:80", "server 10.244.1.3")
	cnitest.Expect(t, b.NetNS, "tcp", "192.0.2.2:80", "server 192.0.2.1")
	for _, p := range []string{a.ContainerID, b.ContainerID} {
		if !strings.Contains(node.Run("nft", "list", "ruleset"), "kindnet/"+p+"/eth0") {
			t.Errorf("the ruleset does not say what belongs to %s", p)
		}
	}
	for _, p := range []*libcni.RuntimeConf{a, b} {
		if err := node.Del(list, p); err != nil {
			t.Fatal(err)
		}
	}
	if got := node.Rules(); strings.Contains(got, "kindnet/") {
		t.Errorf("after DEL the node still has\n%s", got)
	}
}

// connectOutside links the node (192.0.2.1) with a host outside (192.0.2.2) that knows no way to pods.
func connectOutside(t *testing.T, node *cnitest.Node, outside string) {
	t.Helper()
	here, there := open(t, node.NS), open(t, outside)
	ns, err := os.Open(outside)
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	wan := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "wan"}, PeerName: "eth0", PeerNamespace: netlink.NsFd(int(ns.Fd()))}
	if err := here.LinkAdd(wan); err != nil {
		t.Fatal(err)
	}
	for h, device := range map[*link.Handle][2]string{here: {"wan", "192.0.2.1/24"}, there: {"eth0", "192.0.2.2/24"}} {
		l, err := h.LinkByName(device[0])
		if err != nil {
			t.Fatal(err)
		}
		addr, err := netlink.ParseAddr(device[1])
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(h.AddrAdd(l, addr), h.LinkSetUp(l)); err != nil {
			t.Fatal(err)
		}
	}
}

func open(t *testing.T, path string) *link.Handle {
	t.Helper()
	h, err := link.OpenAt(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return h
}
