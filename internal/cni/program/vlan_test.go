// SPDX-License-Identifier: Apache-2.0

package program_test

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/vishvananda/netlink"

	"eastwest/internal/cni/cnitest"
	"eastwest/internal/kernel/link"
)

// vlanNode is a node whose bridges filter VLANs; some kernels' do not: `make qemu-test` runs these tests on one where they do.
func vlanNode(t *testing.T) (node *cnitest.Node, filters bool) {
	t.Helper()
	node = cnitest.NewNode(t)
	err := link.Do(node.NS, func(h *link.Handle) error {
		attrs, on := netlink.NewLinkAttrs(), true
		attrs.Name = "probe"
		if err := h.LinkAdd(&netlink.Bridge{LinkAttrs: attrs, VlanFiltering: &on}); err != nil {
			return nil
		}
		l, err := h.LinkByName("probe")
		if err != nil {
			return err
		}
		b, _ := l.(*netlink.Bridge)
		filters = b != nil && b.VlanFiltering != nil && *b.VlanFiltering
		return h.LinkDel(l)
	})
	if err != nil {
		t.Fatal(err)
	}
	return node, filters
}

// plain is a network of one bridge without addresses; keys begins or is empty.
func plain(t *testing.T, name, keys string) *libcni.NetworkConfigList {
	return cnitest.List(t, fmt.Sprintf(`{"cniVersion": "1.1.0", "name": %q, "plugins": [{"type": "bridge", "bridge": "lan0"%s}]}`, name, keys))
}

// vlansOf are the VLANs that a container's port is in: "100p" is the one of frames without a tag.
func vlansOf(t *testing.T, node *cnitest.Node, port string) (out string) {
	t.Helper()
	err := link.Do(node.NS, func(h *link.Handle) error {
		l, err := h.LinkByName(port)
		if err != nil {
			return err
		}
		all, err := h.BridgeVlanList()
		var texts []string
		for _, v := range all[int32(l.Attrs().Index)] {
			text := fmt.Sprint(v.Vid)
			if v.PortVID() {
				text += "p"
			}
			texts = append(texts, text)
		}
		out = strings.Join(texts, " ")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestVLANs(t *testing.T) {
	node, filters := vlanNode(t)
	if !filters {
		t.Skip("this kernel's bridges filter no VLANs")
	}
	for i, p := range []struct{ name, keys, vlans string }{
		{"red", `, "vlan": 100`, "1 100p"},
		{"red2", `, "vlan": 100, "preserveDefaultVlan": false`, "100p"},
		{"blue", `, "vlan": 200, "preserveDefaultVlan": false`, "200p"},
		{"trunk", `, "vlanTrunk": [{"minID": 100, "maxID": 101}, {"id": 200}], "preserveDefaultVlan": false`, "1p 100 101 200"},
		{"mixed", `, "vlan": 200, "vlanTrunk": [{"id": 100}]`, "1 100 200p"},
		{"none", ``, "1p"},
	} {
		list, pod := plain(t, p.name, p.keys), cnitest.Pod(t, p.name)
		result := node.Add(list, pod)
		if got := vlansOf(t, node, result.Interfaces[1].Name); got != p.vlans {
			t.Errorf("%s is in VLANs %q, want %q", p.name, got, p.vlans)
		}
		cnitest.RunIn(t, pod.NetNS, "ip", "addr", "add", fmt.Sprintf("192.0.2.%d/24", 1+i), "dev", "eth0")
		if p.name == "trunk" {
			cnitest.RunIn(t, pod.NetNS, "ip", "link", "add", "link", "eth0", "name", "eth0.200", "type", "vlan", "id", "200")
			cnitest.RunIn(t, pod.NetNS, "ip", "link", "set", "eth0.200", "up")
			cnitest.RunIn(t, pod.NetNS, "ip", "addr", "add", "198.51.100.1/24", "dev", "eth0.200")
		}
		if p.name == "blue" {
			cnitest.RunIn(t, pod.NetNS, "ip", "addr", "add", "198.51.100.2/24", "dev", "eth0")
		}
		cnitest.Serve(t, pod.NetNS, p.name, 80)
		if err := node.Check(list, pod); err != nil {
			t.Errorf("CHECK %s: %v", p.name, err)
		}
		if p.name == "red" {
			continue
		}
		reached := func(to string) string {
			answer, err := cnitest.Ask(pod.NetNS, "tcp", to+":80")
			if err != nil {
				return ""
			}
			who, _, _ := strings.Cut(answer, " ")
			return who
		}
		red, blue := "", ""
		switch p.name {
		case "red2":
			red = "red"
		case "mixed":
			blue = "blue"
		}
		if got := reached("192.0.2.1"); got != red {
			t.Errorf("%s reaches %q at the address of red", p.name, got)
		}
		if p.name == "blue" || p.name == "red2" {
			continue
		}
		if got := reached("192.0.2.3"); got != blue {
			t.Errorf("%s reaches %q at the address of blue", p.name, got)
		}
		if p.name == "trunk" && reached("198.51.100.2") != "blue" {
			t.Error("the trunk does not reach blue by its tag")
		}
	}
}

// The gateway of a VLAN is in it: an interface of its own, which the next container finds.
func TestVLANGateway(t *testing.T) {
	node, filters := vlanNode(t)
	conf := func(vlan int) *libcni.NetworkConfigList {
		keys := fmt.Sprintf(`"vlan": %d, "preserveDefaultVlan": false, "isGateway"`, vlan)
		text := strings.Replace(bridged, `"isGateway"`, keys, 1)
		return cnitest.List(t, fmt.Sprintf(text, filepath.Join(t.TempDir(), "leases")))
	}
	list, a, b := conf(100), cnitest.Pod(t, "a"), cnitest.Pod(t, "b")
	if !filters {
		var refused *types.Error
		if _, err := node.TryAdd(list, a); !errors.As(err, &refused) || refused.Code != types.ErrUnsupportedField || !strings.Contains(refused.Msg, "filter no VLANs") {
			t.Errorf("on a kernel that cannot: %v", err)
		}
		if left := node.Run("ip", "-o", "link", "show", "type", "veth"); strings.Contains(left, "veth") {
			t.Errorf("left: %s", left)
		}
		t.Skip("this kernel's bridges filter no VLANs")
	}
	bridge := ""
	for _, pod := range []*libcni.RuntimeConf{a, b} {
		result := node.Add(list, pod)
		bridge = result.Interfaces[0].Name
		if len(result.Interfaces) != 4 || result.Interfaces[3].Name != bridge+".100" || result.Interfaces[3].Mac == "" || result.Interfaces[3].Sandbox != "" {
			t.Errorf("interfaces of the result: %v", result.Interfaces)
		}
		if err := node.Check(list, pod); err != nil {
			t.Errorf("CHECK: %v", err)
		}
	}
	cnitest.Serve(t, node.NS, "host", 80)
	cnitest.Expect(t, a.NetNS, "tcp", "10.88.0.1:80", "host 10.88.0.2")
	cnitest.Expect(t, b.NetNS, "tcp", "[fd00:88::1]:80", "host fd00:88::3")
	if on := node.Run("ip", "-o", "addr", "show", "dev", bridge); strings.Contains(on, "10.88.0.1") {
		t.Errorf("the bridge has the address of the VLAN's gateway: %s", on)
	}
	keeper := keeperOf(node)
	if got := restored(t, keeper); got != "" {
		t.Errorf("restored %q although nothing was taken away", got)
	}
	for _, taken := range []string{bridge, bridge + ".100"} {
		node.Run("ip", "link", "del", taken)
		if got := restored(t, keeper); got != "a b" && got != "a" {
			t.Errorf("%s taken away: restored %q", taken, got)
		}
		cnitest.RunIn(t, a.NetNS, "ip", "neigh", "flush", "all")
		cnitest.Expect(t, a.NetNS, "tcp", "10.88.0.1:80", "host 10.88.0.2")
	}
	for _, pod := range []*libcni.RuntimeConf{a, b} {
		if err := node.Del(list, pod); err != nil {
			t.Errorf("DEL: %v", err)
		}
	}
	if left := node.Run("ip", "-d", "link"); strings.Contains(left, "/eth0") || !strings.Contains(left, bridge+".100") {
		t.Errorf("after DEL:\n%s", left)
	}
	node.Add(list, a)
	cnitest.Expect(t, a.NetNS, "tcp", "10.88.0.1:80", "host 10.88.0.4")
}
