// SPDX-License-Identifier: Apache-2.0

package program_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"eastwest/internal/cni/cnitest"
)

// podman is the network that podman makes when there is none, with all its plugins; %s are places of files.
const podman = `{
  "cniVersion": "%s",
  "name": "podman",
  "plugins": [
    {
      "type": "bridge", "bridge": "cni-podman0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
      "ipam": {"type": "host-local", "dataDir": %q, "routes": [{"dst": "0.0.0.0/0"}], "ranges": [[{"subnet": "10.88.0.0/16", "gateway": "10.88.0.1"}]]}
    },
    {"type": "portmap", "capabilities": {"portMappings": true}},
    {"type": "firewall"%s},
    {"type": "tuning", "dataDir": %q%s}
  ]
}`

func TestPodmansNetworkBehindAClosedFirewall(t *testing.T) {
	needIPTables(t)
	for _, version := range []string{"0.4.0", "1.1.0"} {
		t.Run(version, func(t *testing.T) {
			node := cnitest.NewNode(t)
			node.Run("ip", "link", "set", "lo", "up")
			node.Run("iptables", "-P", "FORWARD", "DROP")
			dir := t.TempDir()
			list := cnitest.List(t, fmt.Sprintf(podman, version, filepath.Join(dir, "leases"), "", filepath.Join(dir, "tuning"), ""))
			a, b, outside := cnitest.Pod(t, "a"), cnitest.Pod(t, "b"), cnitest.Pod(t, "outside")
			a.CapabilityArgs = mapPorts(map[string]any{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"})
			node.Add(list, a)
			connectOutside(t, node, outside.NetNS)
			cnitest.Serve(t, a.NetNS, "a", 80)
			cnitest.Serve(t, outside.NetNS, "outside", 80)
			cnitest.Expect(t, a.NetNS, "tcp", "192.0.2.2:80", "outside 192.0.2.1")
			node.Add(list, b)
			if err := node.Check(list, a); err != nil {
				t.Errorf("CHECK: %v", err)
			}
			for range 2 {
				if err := node.Del(list, a); err != nil {
					t.Errorf("DEL: %v", err)
				}
			}
			if version == "1.1.0" {
				if err := node.Status(list); err != nil {
					t.Errorf("STATUS: %v", err)
				}
				if err := node.GC(list); err != nil {
					t.Errorf("GC: %v", err)
				}
			} else if err := node.Del(list, b); err != nil {
				t.Errorf("DEL: %v", err)
			}
			leavesNothing(t, node, "10.88.0.2", "10.88.0.3", "podman/")
		})
	}
}

func TestIngressPolicies(t *testing.T) {
	needIPTables(t)
	for policy, same := range map[string]bool{"open": true, "same-bridge": true, "isolated": false} {
		t.Run(policy, func(t *testing.T) {
			node := cnitest.NewNode(t)
			node.Run("sysctl", "-qw", "net.ipv4.ip_forward=1")
			dir := t.TempDir()
			conf := fmt.Sprintf(podman, "1.0.0", filepath.Join(dir, "leases"), `, "ingressPolicy": "`+policy+`"`, filepath.Join(dir, "tuning"), "")
			foo := cnitest.List(t, conf)
			bar := cnitest.List(t, strings.NewReplacer("10.88.", "10.89.", "cni-podman0", "bar0", `"podman"`, `"bar"`).Replace(conf))
			a, b, other := cnitest.Pod(t, "a"), cnitest.Pod(t, "b"), cnitest.Pod(t, "other")
			node.Add(foo, a)
			node.Add(foo, b)
			node.Add(bar, other)
			cnitest.Serve(t, a.NetNS, "a", 80)
			if _, err := cnitest.Ask(other.NetNS, "tcp", "10.88.0.2:80"); (err == nil) != (policy == "open") {
				t.Errorf("from the other bridge: %v", err)
			}
			// Containers of one bridge meet on it, and pass the firewall only where bridges are filtered.
			if _, err := os.Stat("/proc/sys/net/bridge/bridge-nf-call-iptables"); err == nil {
				node.Run("sysctl", "-qw", "net.bridge.bridge-nf-call-iptables=1")
				if _, err := cnitest.Ask(b.NetNS, "tcp", "10.88.0.2:80"); (err == nil) != same {
					t.Errorf("from the same bridge: %v", err)
				}
			}
		})
	}
}

func TestTuning(t *testing.T) {
	node := cnitest.NewNode(t)
	dir := t.TempDir()
	kept := filepath.Join(dir, "tuning")
	keys := `, "sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1", "net.core.somaxconn": "500"}, "mtu": 1400, "promisc": true, "allmulti": true, "txQLen": 777,
		"capabilities": {"mac": true}`
	list := cnitest.List(t, fmt.Sprintf(podman, "1.1.0", filepath.Join(dir, "leases"), `, "backend": "iptables"`, kept, keys))
	pod := cnitest.Pod(t, "tuned")
	const mac = "c2:11:22:33:44:55"
	pod.CapabilityArgs = map[string]any{"mac": mac}
	result := node.Add(list, pod)
	if got := result.Interfaces[2].Mac; got != mac {
		t.Errorf("hardware address in the result = %s, want %s", got, mac)
	}
	state := cnitest.RunIn(t, pod.NetNS, "ip", "-d", "link", "show", "eth0")
	for _, want := range []string{"mtu 1400", "PROMISC", "ALLMULTI", "qlen 777", mac} {
		if !strings.Contains(state, want) {
			t.Errorf("%q is not in %s", want, state)
		}
	}
	if got := cnitest.RunIn(t, pod.NetNS, "sysctl", "-n", "net.ipv4.conf.eth0.arp_filter", "net.core.somaxconn"); got != "1\n500\n" {
		t.Errorf("sysctls = %q", got)
	}
	if err := node.Check(list, pod); err != nil {
		t.Errorf("CHECK: %v", err)
	}
	cnitest.RunIn(t, pod.NetNS, "ip", "link", "set", "eth0", "mtu", "1300")
	if err := node.Check(list, pod); err == nil || !strings.Contains(err.Error(), "1300") {
		t.Errorf("CHECK after a change = %v, want an error about it", err)
	}
	if err := node.GC(list, pod); err != nil {
		t.Errorf("GC: %v", err)
	}
	if files, _ := os.ReadDir(kept); len(files) != 1 {
		t.Errorf("kept files while the container is there: %v", files)
	}
	if err := node.Del(list, pod); err != nil {
		t.Errorf("DEL: %v", err)
	}
	if files, _ := os.ReadDir(kept); len(files) != 0 {
		t.Errorf("kept files after DEL: %v", files)
	}
}

func TestTuningRefusesWhatIsNotTheNetworks(t *testing.T) {
	node := cnitest.NewNode(t)
	for keys, want := range map[string]string{
		`"sysctl": {"kernel.panic": "1"}`:                "invalid net sysctl key",
		`"sysctl": {"net.ipv4/../../kernel/panic": "1"}`: "no such file",
		`"mac": "red"`: "hardware address",
	} {
		dir := t.TempDir()
		list := cnitest.List(t, fmt.Sprintf(podman, "1.0.0", filepath.Join(dir, "leases"), `, "backend": "iptables"`, dir, ", "+keys))
		pod := cnitest.Pod(t, "x")
		_, err := node.TryAdd(list, pod)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error = %v, want one about %q", keys, err, want)
		}
		_ = node.Del(list, pod)
	}
}

func TestMacvlanModes(t *testing.T) {
	for mode, meet := range map[string]bool{"bridge": true, "private": false, "vepa": false, "passthru": true} {
		t.Run(mode, func(t *testing.T) {
			node := cnitest.NewNode(t)
			node.Run("ip", "link", "add", "lan", "type", "veth", "peer", "name", "wire")
			node.Run("ip", "link", "set", "lan", "up")
			node.Run("ip", "link", "set", "wire", "up")
			list := cnitest.List(t, fmt.Sprintf(`{"cniVersion": "1.1.0", "name": "lan", "plugins": [{"type": "macvlan", "master": "lan", "mode": %q,
				"mtu": 1400, "ipam": {"type": "host-local", "dataDir": %q, "ranges": [[{"subnet": "10.90.0.0/24"}], [{"subnet": "fd00:90::/64"}]]}}]}`, mode, t.TempDir()))
			a, b := cnitest.Pod(t, "a"), cnitest.Pod(t, "b")
			if err := node.Status(list); err != nil {
				t.Errorf("STATUS: %v", err)
			}
			node.Add(list, a)
			if got := cnitest.RunIn(t, a.NetNS, "ip", "-d", "link", "show", "eth0"); !strings.Contains(got, "macvlan mode "+mode) || !strings.Contains(got, "mtu 1400") {
				t.Errorf("the container has %s", got)
			}
			if mode != "passthru" { // which takes the whole interface
				node.Add(list, b)
				cnitest.Serve(t, a.NetNS, "a", 80)
				if _, err := cnitest.Ask(b.NetNS, "tcp", "10.90.0.2:80"); (err == nil) != meet {
					t.Errorf("from one container to the other: %v", err)
				}
			}
			if err := node.Check(list, a); err != nil {
				t.Errorf("CHECK: %v", err)
			}
			if _, err := node.TryAdd(list, a); err == nil || !strings.Contains(err.Error(), "container a already has") {
				t.Errorf("ADD twice = %v", err)
			}
			for range 2 {
				if err := node.Del(list, a); err != nil {
					t.Errorf("DEL: %v", err)
				}
			}
			if got := cnitest.RunIn(t, a.NetNS, "ip", "-o", "link"); strings.Contains(got, "macvlan") || strings.Contains(got, "eth0") {
				t.Errorf("after DEL the container has %s", got)
			}
			if err := node.GC(list); err != nil {
				t.Errorf("GC: %v", err)
			}
			node.Add(list, cnitest.Pod(t, "c"))
		})
	}
}
