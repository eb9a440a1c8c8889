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
		call(t, node, pod.NetNS, "ADD", conf, time.Duration(n)*400*time.Microsecond)
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

// call runs ptp in the node's namespace and kills it after a time; 0 lets it end.
func call(t *testing.T, node *cnitest.Node, sandbox, verb, conf string, kill time.Duration) ([]byte, error) {
	t.Helper()
	var out bytes.Buffer
	c := exec.Command(filepath.Join(node.Bin, "ptp"))
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
