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

	"eastwest/internal/cni/cnitest"
	"eastwest/internal/cni/sweep"
	"eastwest/internal/kernel/netns"
)

// killed are the plugins, and what is configured, that are killed at every step.
var killed = map[string]string{
	"ptp":                   `"ipMasq": true, "ipam": {"type": "host-local", "dataDir": %q, "ranges": [[{"subnet": "10.244.1.0/24"}], [{"subnet": "fd00:10:244:1::/64"}]]}`,
	"bridge":                `"isGateway": true, "macspoofchk": true, "ipspoofchk": true, "ipMasq": true, "ipam": {"type": "host-local", "dataDir": %q, "ranges": [[{"subnet": "10.244.1.0/24"}], [{"subnet": "fd00:10:244:1::/64"}]]}`,
	"macvlan":               `"master": "lan", "ipam": {"type": "host-local", "dataDir": %q, "ranges": [[{"subnet": "10.244.1.0/24"}]]}`,
	"portmap":               mapped,
	"portmap with iptables": `"backend": "iptables", ` + mapped,
	"firewall":              `"backend": "iptables", ` + attachedTo,
}

const (
	attachedTo = `"prevResult": {"cniVersion": "1.1.0", "interfaces": [{"name": "eth0", "sandbox": "/x"}], "ips": [{"address": "10.244.1.2/24", "interface": 0}]}`
	mapped     = attachedTo + `, "runtimeConfig": {"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}, {"hostPort": 8081, "containerPort": 80, "hostIP": "127.0.0.1"}]}`
)

// Killed before any of the calls of ADD or of DEL that change something, what is left goes with a DEL, or with a GC that knows of
// no container. The first ADD of a node makes more than those after it.
func TestKilledPluginsLeaveNothing(t *testing.T) {
	for name, keys := range killed {
		t.Run(name, func(t *testing.T) {
			if strings.Contains(keys, "iptables") {
				needIPTables(t)
			}
			v := newVictim(t, name, keys)
			for _, what := range []string{"first ADD", "ADD", "DEL"} {
				n := 1
				for ; v.killedAt(what, n); n++ {
				}
				t.Logf("%s: killed before each of %d calls", what, n-1)
			}
		})
	}
}

// victim is a plugin on a node that is killed and run again.
type victim struct {
	*testing.T
	node    *cnitest.Node
	plugin  string
	conf    string
	sandbox string
	leases  string
	round   int
}

func newVictim(t *testing.T, name, keys string) *victim {
	name, _, _ = strings.Cut(name, " ")
	v := &victim{T: t, node: cnitest.NewNode(t), plugin: name, sandbox: cnitest.Pod(t, "killed").NetNS, leases: filepath.Join(t.TempDir(), "leases")}
	v.node.Run("ip", "link", "add", "lan", "type", "bridge") // for macvlan
	if strings.Contains(keys, "%q") {
		keys = fmt.Sprintf(keys, v.leases)
	}
	v.conf = fmt.Sprintf(`{"cniVersion": "1.1.0", "name": "net", "type": %q, "cni.dev/valid-attachments": [], %s}`, name, keys)
	return v
}

// killedAt kills the plugin before the nth call, and sees that nothing is left in the end. It reports false when there are
// fewer calls than that.
func (v *victim) killedAt(what string, n int) bool {
	v.Helper()
	switch what {
	case "first ADD":
		v.node.Run("nft", "flush", "ruleset")
		v.node.Run("rm", "-rf", v.leases)
	case "DEL":
		v.must("ADD")
	}
	verb := strings.TrimPrefix(what, "first ")
	out, err, killed := callKilled(v.T, v.node, v.plugin, v.sandbox, verb, v.conf, n)
	if err != nil && !killed {
		v.Fatalf("%s, to be killed at call %d: %v\n%s", what, n, err, out)
	}
	clean := []string{"DEL", "GC"}[v.round%2]
	v.round++
	v.must(clean)
	left, rules := v.left()
	if clean == "GC" && left != "" && !strings.Contains(left, "alias") {
		// Killed before the pair had its alias, or inside: nobody's to GC, which leaves it to its namespace's end, but DEL's.
		v.must("DEL")
		left, rules = v.left()
	}
	if left != "" || strings.Contains(rules, "killed") || strings.Contains(rules, "8080") || strings.Contains(rules, "CNI-DN-") {
		v.Fatalf("after %s killed at call %d, and %s, there is still: %s\n%s", what, n, clean, left, rules)
	}
	return killed
}

// left is what the node has of the container: links and leases, and all rules.
func (v *victim) left() (links, rules string) {
	const list = "ip -o link show type veth; ip -o link show type macvlan"
	links = v.node.Run("sh", "-c", list) + cnitest.RunIn(v.T, v.sandbox, "sh", "-c", list) + strings.Join(leases(v.T, v.leases), " ")
	return links, v.node.Rules()
}

func (v *victim) must(verb string) {
	v.Helper()
	if out, err := v.run(verb); err != nil {
		v.Fatalf("%s: %v\n%s", verb, err, out)
	}
}

func (v *victim) run(verb string) ([]byte, error) {
	v.Helper()
	return callPlugin(v.T, v.node, v.plugin, v.sandbox, verb, v.conf)
}

// callPlugin runs a plugin in the node's namespace for a container "killed".
func callPlugin(t *testing.T, node *cnitest.Node, plugin, sandbox, verb, conf string) ([]byte, error) {
	t.Helper()
	var out bytes.Buffer
	c := exec.Command(filepath.Join(node.Bin, plugin))
	c.Stdin, c.Stdout, c.Stderr = strings.NewReader(conf), &out, &out
	c.Env = environment(node, sandbox, verb)
	if err := netns.Do(node.NS, c.Start); err != nil {
		t.Fatal(err)
	}
	err := c.Wait()
	return out.Bytes(), err
}

func environment(node *cnitest.Node, sandbox, verb string) []string {
	return append(os.Environ(), "CNI_COMMAND="+verb, "CNI_CONTAINERID=killed", "CNI_NETNS="+sandbox, "CNI_IFNAME=eth0", "CNI_PATH="+node.Bin)
}

// callKilled is callPlugin with a plugin that is killed before its nth call that changes something, if there are as many.
func callKilled(t *testing.T, node *cnitest.Node, plugin, sandbox, verb, conf string, n int) (out []byte, failed error, killed bool) {
	t.Helper()
	stdin, stdout := filepath.Join(t.TempDir(), "stdin"), filepath.Join(t.TempDir(), "stdout")
	if err := os.WriteFile(stdin, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	in, err := os.Open(stdin)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	to, err := os.Create(stdout)
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	s, err := cnitest.StartSteps(node.NS, []string{filepath.Join(node.Bin, plugin)}, environment(node, sandbox, verb), [3]*os.File{in, to, to}, n)
	if err != nil {
		t.Fatal(err)
	}
	status, killed := s.Wait()
	if out, err = os.ReadFile(stdout); err != nil {
		t.Fatal(err)
	}
	if status.ExitStatus() != 0 {
		failed = fmt.Errorf("it ended with %v", status)
	}
	return out, failed, killed
}

func leases(t *testing.T, dir string) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(dir, "*", "[1f]*"))
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
