// SPDX-License-Identifier: Apache-2.0

package program_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"eastwest/internal/cni/cnitest"
	"eastwest/internal/cni/sweep"
	"eastwest/internal/kernel/netns"
)

// A plugin killed at any moment of ADD leaves nothing that DEL does not remove.
func TestKilledAddIsCleanedUpByDel(t *testing.T) {
	node := cnitest.NewNode(t)
	dir := filepath.Join(t.TempDir(), "leases")
	conf := fmt.Sprintf(`{"cniVersion": "1.1.0", "name": "net", "type": "ptp", "ipMasq": true,
		"ipam": {"type": "host-local", "dataDir": %q, "subnet": "10.244.1.0/24"}}`, dir)
	pod := cnitest.Pod(t, "killed")
	for n := range 25 {
		_, _ = call(t, node, pod.NetNS, "ADD", conf, time.Duration(n)*400*time.Microsecond)
		if out, err := call(t, node, pod.NetNS, "DEL", conf, 0); err != nil {
			t.Fatalf("DEL after a kill at step %d: %v\n%s", n, err, out)
		}
		left := node.Run("ip", "-o", "link", "show", "type", "veth") + node.Run("ip", "route")
		left += cnitest.RunIn(t, pod.NetNS, "ip", "-o", "link", "show", "type", "veth")
		left += strings.Join(leases(t, dir), " ")
		if left != "" || strings.Contains(node.Run("nft", "list", "ruleset"), "net/killed") {
			t.Fatalf("after a kill at step %d and DEL there is still: %s", n, left)
		}
	}
}

// Killed at any moment of ADD or of DEL, what is left goes with a DEL, or with a GC that knows of no container.
func TestKilledPluginsLeaveNothing(t *testing.T) {
	const result = `"prevResult": {"cniVersion": "1.1.0", "interfaces": [{"name": "eth0", "sandbox": "/x"}], "ips": [{"address": "10.244.1.2/24", "interface": 0}]}`
	ports := result + `, "runtimeConfig": {"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}, {"hostPort": 8081, "containerPort": 80, "hostIP": "127.0.0.1"}]}`
	for name, keys := range map[string]string{
		"ptp":                   `"ipMasq": true, "ipam": {"type": "host-local", "dataDir": %q, "ranges": [[{"subnet": "10.244.1.0/24"}], [{"subnet": "fd00:10:244:1::/64"}]]}`,
		"bridge":                `"isGateway": true, "macspoofchk": true, "ipspoofchk": true, "ipMasq": true, "ipam": {"type": "host-local", "dataDir": %q, "ranges": [[{"subnet": "10.244.1.0/24"}], [{"subnet": "fd00:10:244:1::/64"}]]}`,
		"macvlan":               `"master": "lan", "ipam": {"type": "host-local", "dataDir": %q, "ranges": [[{"subnet": "10.244.1.0/24"}]]}`,
		"portmap":               ports,
		"portmap with iptables": `"backend": "iptables", ` + ports,
		"firewall":              `"backend": "iptables", ` + result,
	} {
		t.Run(name, func(t *testing.T) {
			if strings.Contains(keys, "iptables") {
				needIPTables(t)
			}
			name, _, _ := strings.Cut(name, " ")
			node := cnitest.NewNode(t)
			node.Run("ip", "link", "add", "lan", "type", "bridge") // for macvlan
			dir := filepath.Join(t.TempDir(), "leases")
			if strings.Contains(keys, "%q") {
				keys = fmt.Sprintf(keys, dir)
			}
			conf := fmt.Sprintf(`{"cniVersion": "1.1.0", "name": "net", "type": %q, "cni.dev/valid-attachments": [], %s}`, name, keys)
			pod := cnitest.Pod(t, "killed")
			for n := range 24 {
				kill := time.Duration(n/2+1) * 700 * time.Microsecond
				if n%2 == 0 {
					_, _ = callPlugin(t, node, name, pod.NetNS, "ADD", conf, kill)
				} else if out, err := callPlugin(t, node, name, pod.NetNS, "ADD", conf, 0); err != nil {
					t.Fatalf("ADD: %v\n%s", err, out)
				} else {
					_, _ = callPlugin(t, node, name, pod.NetNS, "DEL", conf, kill)
				}
				verb := []string{"DEL", "GC"}[n/2%2]
				if out, err := callPlugin(t, node, name, pod.NetNS, verb, conf, 0); err != nil {
					t.Fatalf("%s after a kill at step %d: %v\n%s", verb, n, err, out)
				}
				links := node.Run("ip", "-o", "link", "show", "type", "veth")
				inside := cnitest.RunIn(t, pod.NetNS, "ip", "-o", "link", "show", "type", "macvlan")
				if links != "" && !strings.Contains(links, "alias") || inside != "" {
					// Killed before the pair had its alias, or inside: nobody's to GC, which leaves it to its namespace's end, but DEL's.
					_, _ = callPlugin(t, node, name, pod.NetNS, "DEL", conf, 0)
				}
				left := node.Run("ip", "-o", "link", "show", "type", "veth") + cnitest.RunIn(t, pod.NetNS, "ip", "-o", "link", "show", "type", "veth") +
					cnitest.RunIn(t, pod.NetNS, "ip", "-o", "link", "show", "type", "macvlan") + strings.Join(leases(t, dir), " ")
				rules := node.Run("nft", "list", "ruleset")
				if left != "" || strings.Contains(rules, "killed") || strings.Contains(rules, "8080") || strings.Contains(rules, "CNI-DN-") {
					t.Fatalf("after a kill at step %d and %s there is still: %s\n%s", n, verb, left, rules)
				}
			}
		})
	}
}

// call runs ptp in the node's namespace and kills it after a time; 0 lets it end.
func call(t *testing.T, node *cnitest.Node, sandbox, verb, conf string, kill time.Duration) ([]byte, error) {
	t.Helper()
	return callPlugin(t, node, "ptp", sandbox, verb, conf, kill)
}

func callPlugin(t *testing.T, node *cnitest.Node, plugin, sandbox, verb, conf string, kill time.Duration) ([]byte, error) {
	t.Helper()
	var out bytes.Buffer
	c := exec.Command(filepath.Join(node.Bin, plugin))
	c.Stdin, c.Stdout, c.Stderr = strings.NewReader(conf), &out, &out
	c.Env = append(os.Environ(), "CNI_COMMAND="+verb, "CNI_CONTAINERID=killed", "CNI_NETNS="+sandbox, "CNI_IFNAME=eth0", "CNI_PATH="+node.Bin)
	if err := netns.Do(node.NS, c.Start); err != nil {
		t.Fatal(err)
	}
	if kill > 0 {
		time.Sleep(kill)
		c.Process.Kill()
	}
	err := c.Wait()
	return out.Bytes(), err
}

func leases(t *testing.T, dir string) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(dir, "*", "10.*"))
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestSweepFreesWhatRuntimesForgot(t *testing.T) {
	node := cnitest.NewNode(t)
	dir := filepath.Join(t.TempDir(), "leases")
	list := cnitest.List(t, fmt.Sprintf(kindnet, "0.3.1", dir, "", `[{"subnet": "10.244.1.0/24"}]`))
	other := cnitest.List(t, strings.ReplaceAll(fmt.Sprintf(kindnet, "0.3.1", dir, "", `[{"subnet": "10.244.2.0/24"}]`), `"kindnet"`, `"other"`))
	kept, forgotten, elsewhere := cnitest.Pod(t, "kept"), cnitest.Pod(t, "forgotten"), cnitest.Pod(t, "elsewhere")
	kept.CapabilityArgs = mapPorts(map[string]any{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"})
	forgotten.CapabilityArgs = mapPorts(map[string]any{"hostPort": 8081, "containerPort": 80, "protocol": "tcp"})
	node.Add(list, kept)
	node.Add(list, forgotten)
	node.Add(other, elsewhere)
	err := sweep.Sweep(t.Context(), sweep.Config{
		Network: "kindnet", DataDir: dir, NetNS: node.NS, Containers: []string{"kept"}, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	state := node.Run("ip", "-o", "addr") + node.Run("ip", "-d", "link") + node.Run("nft", "list", "ruleset")
	for name, want := range map[string]bool{"/kept/": true, "/forgotten/": false, "/elsewhere/": true} {
		if strings.Contains(state, name) != want {
			t.Errorf("after the sweep, %s is in the node's state: %v, want %v", name, !want, want)
		}
	}
	if got := leases(t, dir); len(got) != 2 {
		t.Errorf("leases after the sweep: %v, want those of kept and elsewhere", got)
	}
}
