// SPDX-License-Identifier: Apache-2.0

package program_test

import (
	"crypto/sha512"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/containernetworking/cni/libcni"

	"eastwest/internal/cni/cnitest"
)

// with puts keys into the configuration of the plugin portmap of dualStack and of ptp.
func with(conf, portmapKeys, ptpKeys string) string {
	conf = strings.Replace(conf, `"type": "portmap",`, `"type": "portmap", `+portmapKeys, 1)
	return strings.Replace(conf, `"ipMasq": false,`, ptpKeys, 1)
}

// Every backend, with and without conditions, does the same to packets.
func TestBackendsMapPorts(t *testing.T) {
	for name, keys := range map[string]string{
		"nftables":            `"backend": "nftables",`,
		"iptables":            `"backend": "iptables",`,
		"nftables conditions": `"conditionsV4": ["ip", "daddr", "!=", "192.0.2.99"], "conditionsV6": ["ip6 daddr != 2001:db8::99"],`,
		"iptables conditions": `"conditionsV4": ["!", "-d", "192.0.2.99"], "conditionsV6": ["!", "-d", "2001:db8::99"],`,
		"masqAll":             `"masqAll": true,`,
		"iptables mark":       `"backend": "iptables", "markMasqBit": 17,`,
	} {
		t.Run(name, func(t *testing.T) {
			needIPTables(t)
			node := cnitest.NewNode(t)
			node.Run("ip", "link", "set", "lo", "up")
			list := cnitest.List(t, with(dualStack(t, "1.1.0"), keys, `"ipMasq": false,`))
			a, b := cnitest.Pod(t, "a"), cnitest.Pod(t, "b")
			a.CapabilityArgs = mapPorts(
				map[string]any{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"},
				map[string]any{"hostPort": 8080, "containerPort": 80, "protocol": "udp"},
				map[string]any{"hostPort": 8081, "containerPort": 80, "protocol": "sctp"},
				map[string]any{"hostPort": 8082, "containerPort": 80, "protocol": "tcp", "hostIP": "127.0.0.1"},
			)
			node.Add(list, a)
			node.Add(list, b)
			for _, p := range []string{a.NetNS, b.NetNS} {
				cnitest.RunIn(t, p, "ip", "link", "set", "lo", "up")
			}
			client := "10.244.1.3"
			if strings.HasPrefix(name, "iptables") || name == "masqAll" {
				client = "10.244.1.1" // as with the reference plugin, which masquerades the container's whole subnet
			}
			cnitest.Serve(t, a.NetNS, "a", 80)
			for _, network := range []string{"tcp", "udp"} {
				cnitest.Expect(t, b.NetNS, network, "10.244.1.1:8080", "a "+client)
				cnitest.Expect(t, node.NS, network, "127.0.0.1:8080", "a 10.244.1.1")
				cnitest.Expect(t, a.NetNS, network, "10.244.1.1:8080", "a 10.244.1.1")
			}
			if client == "10.244.1.3" {
				cnitest.Expect(t, b.NetNS, "tcp", "[fd00:10:244:1::1]:8080", "a fd00:10:244:1::3")
			}
			cnitest.Expect(t, node.NS, "tcp", "127.0.0.1:8082", "a 10.244.1.1")
			if answer, err := cnitest.Ask(b.NetNS, "tcp", "10.244.1.1:8082"); err == nil {
				t.Errorf("a port of 127.0.0.1 answers %q elsewhere", answer)
			}
			if err := node.Check(list, a); err != nil {
				t.Errorf("CHECK: %v", err)
			}
			if err := node.GC(list, a, b); err != nil {
				t.Errorf("GC: %v", err)
			}
			if err := node.Check(list, a); err != nil {
				t.Errorf("CHECK after GC: %v", err)
			}
			for range 2 {
				if err := node.Del(list, a); err != nil {
					t.Errorf("DEL: %v", err)
				}
			}
			leavesNothing(t, node, "10.244.1.2", "8080", "CNI-DN-")
		})
	}
}

func TestIPTablesRefusesTakenPorts(t *testing.T) {
	needIPTables(t)
	node := cnitest.NewNode(t)
	list := cnitest.List(t, with(article(t, "1.0.0"), `"backend": "iptables",`, `"ipMasq": false,`))
	a, b := cnitest.Pod(t, "first"), cnitest.Pod(t, "second")
	a.CapabilityArgs = mapPorts(map[string]any{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"})
	b.CapabilityArgs = a.CapabilityArgs
	node.Add(list, a)
	_, err := node.TryAdd(list, b)
	if err == nil || !strings.Contains(err.Error(), "container first") || !strings.Contains(err.Error(), "container second") {
		t.Errorf("error = %v, want one that names both containers", err)
	}
	if err := node.Check(list, a); err != nil {
		t.Errorf("the first container's mapping is damaged: %v", err)
	}
	if err := node.GC(list); err != nil {
		t.Errorf("GC: %v", err)
	}
	leavesNothing(t, node, "8080", "CNI-DN-")
}

// The backend may change while containers are there: DEL and GC find what the other one made.
func TestBackendChangesWhileContainersRun(t *testing.T) {
	needIPTables(t)
	node := cnitest.NewNode(t)
	conf := article(t, "1.1.0")
	old := cnitest.List(t, with(conf, `"backend": "iptables",`, `"ipMasq": true, "ipMasqBackend": "iptables",`))
	now := cnitest.List(t, with(conf, ``, `"ipMasq": true,`))
	pods := []*libcni.RuntimeConf{cnitest.Pod(t, "deleted"), cnitest.Pod(t, "collected")}
	for i, p := range pods {
		p.CapabilityArgs = mapPorts(map[string]any{"hostPort": 8080 + i, "containerPort": 80, "protocol": "tcp"})
		node.Add(old, p)
	}
	if err := node.Del(now, pods[0]); err != nil {
		t.Errorf("DEL: %v", err)
	}
	leavesNothing(t, node, "deleted", "8080")
	if err := node.GC(now); err != nil {
		t.Errorf("GC: %v", err)
	}
	leavesNothing(t, node, "collected", "8081")
}

// What the reference plugins' backend nftables made for a container goes with our DEL and GC, and nothing else does.
func TestRulesOfTheReferencePluginsAreRemoved(t *testing.T) {
	node := cnitest.NewNode(t)
	for _, id := range []string{"deleted", "collected", "kept"} {
		hash := func(text string) string { return fmt.Sprintf("%x", sha512.Sum512([]byte(text)))[:16] }
		node.Run("nft", fmt.Sprintf(`
			table ip cni_hostport {
				chain hostports { tcp dport 8080 dnat to 10.244.1.2:80 comment "%[1]s" ; }
				chain masquerading { ip saddr 10.244.1.2 ip daddr 10.244.1.2 masquerade comment "%[1]s" ; }
			}
			table inet cni_plugins_masquerade {
				chain masq_checks { ip saddr 10.244.1.2 ip daddr != 10.244.1.0/24 masquerade comment "%[2]s-%[3]s, net: kindnet, if: eth0, id: %[1]s" ; }
			}`, id, hash("kindnet"), hash("eth0:"+id)))
	}
	list := cnitest.List(t, with(article(t, "1.1.0"), ``, `"ipMasq": true,`))
	gone := cnitest.Pod(t, "deleted")
	gone.CapabilityArgs = mapPorts(map[string]any{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"})
	if err := node.Del(list, gone); err != nil {
		t.Errorf("DEL: %v", err)
	}
	leavesNothing(t, node, "deleted")
	if err := node.GC(list, cnitest.Pod(t, "kept")); err != nil {
		t.Errorf("GC: %v", err)
	}
	leavesNothing(t, node, "id: collected")
	rules := node.Run("nft", "list", "ruleset")
	// Port mappings do not say of which network they are.
	for text, want := range map[string]int{`comment "kept"`: 2, "id: kept": 1, `comment "collected"`: 2} {
		if got := strings.Count(rules, text); got != want {
			t.Errorf("%d rules with %s are left, want %d:\n%s", got, text, want, rules)
		}
	}
}

func TestMasqueradeByIPTables(t *testing.T) {
	needIPTables(t)
	node := cnitest.NewNode(t)
	list := cnitest.List(t, with(article(t, "1.1.0"), ``, `"ipMasq": true, "ipMasqBackend": "iptables",`))
	a, b, outside := cnitest.Pod(t, "a"), cnitest.Pod(t, "b"), cnitest.Pod(t, "outside")
	node.Add(list, a)
	node.Add(list, b)
	connectOutside(t, node, outside.NetNS)
	for _, p := range []string{outside.NetNS, a.NetNS} {
		cnitest.Serve(t, p, "server", 80)
	}
	cnitest.Expect(t, b.NetNS, "tcp", "10.244.1.2:80", "server 10.244.1.3")
	cnitest.Expect(t, b.NetNS, "tcp", "192.0.2.2:80", "server 192.0.2.1")
	if err := node.GC(list, a, b); err != nil {
		t.Fatal(err)
	}
	cnitest.Expect(t, b.NetNS, "tcp", "192.0.2.2:80", "server 192.0.2.1")
	for _, p := range []*libcni.RuntimeConf{a, b} {
		if err := node.Del(list, p); err != nil {
			t.Fatal(err)
		}
	}
	leavesNothing(t, node, "kindnet")
}

func leavesNothing(t *testing.T, node *cnitest.Node, of ...string) {
	t.Helper()
	left := node.Rules() + node.Run("iptables-save") + node.Run("ip6tables-save")
	for _, text := range of {
		if strings.Contains(left, text) {
			t.Errorf("%q is still on the node:\n%s", text, left)
		}
	}
}

func needIPTables(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("iptables"); err != nil {
		t.Skip("iptables is not installed")
	}
}
