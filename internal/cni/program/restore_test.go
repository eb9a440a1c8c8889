// SPDX-License-Identifier: Apache-2.0

package program_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containernetworking/cni/libcni"

	"eastwest/internal/cni/cnitest"
	"eastwest/internal/cni/restore"
)

func keeperOf(node *cnitest.Node) *restore.Keeper {
	return restore.New(restore.Config{CacheDirs: []string{node.Cache}, NetNS: node.NS})
}

// restored calls the keeper and returns whose rules came back.
func restored(t *testing.T, k *restore.Keeper) string {
	t.Helper()
	owners, err := k.Restore(t.Context())
	if err != nil {
		t.Errorf("restore: %v", err)
	}
	var ids []string
	for _, o := range owners {
		ids = append(ids, o.ContainerID)
	}
	return strings.Join(slices.Sorted(slices.Values(ids)), " ")
}

// What another program took away of links, addresses and routes comes back: the container reaches its neighbour, its host, and what is
// outside, by each family, at the hardware addresses that it knows.
func TestWayToContainersComesBack(t *testing.T) {
	for name, c := range map[string]struct {
		conf  string
		taken []string
	}{
		"ptp": {with(dualStack(t, "1.1.0"), ``, ``), []string{
			"ip route flush root 10.244.0.0/16", "ip -6 route flush root fd00:10:244::/48", "ip address flush dev VETH", "ip link set VETH down",
			"sh -c 'ip link set VETH down; ip link set VETH up'",
		}},
		"bridge": {fmt.Sprintf(bridged, filepath.Join(t.TempDir(), "leases")), []string{
			"ip link set VETH nomaster", "ip address flush dev cni-podman0", "ip link set cni-podman0 down", "ip link set VETH down", "ip link del cni-podman0",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			node := cnitest.NewNode(t)
			list, a, b := cnitest.List(t, c.conf), cnitest.Pod(t, "a"), cnitest.Pod(t, "b")
			result := node.Add(list, a)
			node.Add(list, b)
			veth := result.Interfaces[len(result.Interfaces)-2].Name
			cnitest.Serve(t, a.NetNS, "a", 80)
			works := func(after string) {
				t.Helper()
				for _, ip := range result.IPs {
					address := net.JoinHostPort(ip.Address.IP.String(), "80")
					for _, from := range []string{b.NetNS, node.NS} {
						if got, err := cnitest.Ask(from, "tcp", address); err != nil || !strings.HasPrefix(got, "a ") {
							t.Errorf("after %s, %s says %q, %v", after, address, got, err)
						}
					}
				}
			}
			keeper := keeperOf(node)
			works("ADD")
			if got := restored(t, keeper); got != "" {
				t.Errorf("restored %q although nothing was taken away", got)
			}
			for _, command := range c.taken {
				command = strings.ReplaceAll(command, "VETH", veth)
				node.Run("sh", "-c", command+"; ip neigh flush all; ip -6 neigh flush all")
				if got := restored(t, keeper); got != "a b" && got != "a" {
					t.Errorf("%s: restored %q", command, got)
				}
				works(command)
				if got := restored(t, keeper); got != "" {
					t.Errorf("%s: restored %q again", command, got)
				}
				if err := errors.Join(node.Check(list, a), node.Check(list, b)); err != nil {
					t.Errorf("%s: CHECK: %v", command, err)
				}
			}
			if err := errors.Join(node.Del(list, a), node.Del(list, b)); err != nil {
				t.Errorf("DEL: %v", err)
			}
		})
	}
}

// What another program took away of port mappings and masquerading comes back: packets go where they went.
func TestPortsAndMasqueradingComeBack(t *testing.T) {
	needIPTables(t)
	iptables := []string{"iptables -t nat -F", "iptables -t nat -F PREROUTING", "iptables -t nat -F POSTROUTING", "nft flush ruleset"}
	own := []string{
		"nft flush ruleset", "nft flush table inet eastwest_masquerade", "nft delete table inet eastwest_masquerade", "nft flush chain inet eastwest_masquerade postrouting",
	}
	hostport := []string{
		"nft flush table inet eastwest_hostport", "nft delete table inet eastwest_hostport", "nft flush set inet eastwest_hostport masquerade4",
		"nft flush map inet eastwest_hostport hostport4", "nft flush chain inet eastwest_hostport prerouting",
	}
	const masq = `"ipMasq": true,`
	bridge := fmt.Sprintf(bridged, filepath.Join(t.TempDir(), "leases"))
	for name, c := range map[string]struct {
		conf  string
		taken []string
	}{
		"ptp":                 {with(dualStack(t, "1.1.0"), ``, masq), append(own, hostport...)},
		"ptp of 0.3.1":        {with(dualStack(t, "0.3.1"), ``, masq), own[:1]},
		"conditions":          {with(dualStack(t, "1.1.0"), `"conditionsV4": ["ip", "daddr", "!=", "192.0.2.99"],`, masq), own},
		"iptables":            {with(dualStack(t, "1.1.0"), `"backend": "iptables",`, `"ipMasq": true, "ipMasqBackend": "iptables",`), iptables},
		"bridge":              {bridge, append(own, append(hostport, "nft flush set inet eastwest_hostport subnet_10.88.0.0-16")...)},
		"bridge and firewall": {fmt.Sprintf(podman, "1.1.0", filepath.Join(t.TempDir(), "leases"), "", t.TempDir(), ""), append(own, "iptables -F", "iptables -F CNI-FORWARD")},
	} {
		t.Run(name, func(t *testing.T) {
			n := newFlushed(t, c.conf)
			keeper := keeperOf(n.node)
			n.works("at first")
			if got := restored(t, keeper); got != "" {
				t.Errorf("restored rules of %q although nothing was taken away", got)
			}
			for _, command := range c.taken {
				n.node.Run(strings.Fields(command)...)
				if got := restored(t, keeper); got != "a b" && got != "a" {
					t.Errorf("%s: restored rules of %q", command, got)
				}
				n.works(command)
				if got := restored(t, keeper); got != "" {
					t.Errorf("%s: restored rules of %q again", command, got)
				}
			}
			n.end()
		})
	}
}

// flushed is a node of two containers; a has the host port 8080, and outside is a host that does not know them.
type flushed struct {
	t             *testing.T
	node          *cnitest.Node
	list          *libcni.NetworkConfigList
	a, b, outside *libcni.RuntimeConf
	gateway       string
}

func newFlushed(t *testing.T, conf string) *flushed {
	t.Helper()
	n := &flushed{t: t, node: cnitest.NewNode(t), list: cnitest.List(t, conf), gateway: "10.244.1.1"}
	if strings.Contains(conf, "podman") {
		n.gateway = "10.88.0.1"
	}
	n.a, n.b, n.outside = cnitest.Pod(t, "a"), cnitest.Pod(t, "b"), cnitest.Pod(t, "outside")
	n.node.Run("ip", "link", "set", "lo", "up")
	n.a.CapabilityArgs = mapPorts(map[string]any{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}, map[string]any{"hostPort": 8080, "containerPort": 80, "protocol": "udp"})
	n.node.Add(n.list, n.a)
	n.node.Add(n.list, n.b)
	connectOutside(t, n.node, n.outside.NetNS)
	cnitest.Serve(t, n.a.NetNS, "a", 80)
	cnitest.Serve(t, n.outside.NetNS, "outside", 80)
	return n
}

func (n *flushed) works(when string) {
	n.t.Helper()
	for _, p := range []struct{ from, network, to, says string }{
		{n.outside.NetNS, "tcp", "192.0.2.1:8080", "a 192.0.2.2"},
		{n.outside.NetNS, "udp", "192.0.2.1:8080", "a 192.0.2.2"},
		{n.node.NS, "tcp", "127.0.0.1:8080", "a " + n.gateway},
		{n.a.NetNS, "tcp", n.gateway + ":8080", "a " + n.gateway},
		{n.b.NetNS, "tcp", n.gateway + ":8080", "a "},
		{n.b.NetNS, "tcp", "192.0.2.2:80", "outside 192.0.2.1"},
		{n.a.NetNS, "udp", "192.0.2.2:80", "outside 192.0.2.1"},
	} {
		if answer, err := cnitest.Ask(p.from, p.network, p.to); err != nil || !strings.HasPrefix(answer, p.says) {
			n.t.Errorf("%s: %s %s answered %q, %v; want %q", when, p.network, p.to, answer, err, p.says)
		}
	}
}

// end detaches all: nothing of theirs is left, and nothing is restored.
func (n *flushed) end() {
	n.t.Helper()
	for _, p := range []*libcni.RuntimeConf{n.a, n.b} {
		if err := n.node.Del(n.list, p); err != nil {
			n.t.Errorf("DEL: %v", err)
		}
	}
	if got := restored(n.t, keeperOf(n.node)); got != "" {
		n.t.Errorf("after DEL, restored rules of %q", got)
	}
	leavesNothing(n.t, n.node, "8080", n.list.Name+"/", `name: \"`+n.list.Name)
}

// Hardware addresses are guarded again.
func TestGuardsOfHardwareAddressesComeBack(t *testing.T) {
	conf := strings.Replace(bridged, `"isGateway"`, `"macspoofchk": true, "isGateway"`, 1)
	n := newFlushed(t, fmt.Sprintf(conf, filepath.Join(t.TempDir(), "leases")))
	keeper := keeperOf(n.node)
	for _, command := range []string{"nft flush ruleset", "nft flush table bridge nat", "nft flush chain bridge nat cni-br-iface-b-eth0-mac"} {
		n.node.Run(strings.Fields(command)...)
		if got := restored(t, keeper); !strings.HasSuffix(got, "b") {
			t.Errorf("%s: restored rules of %q", command, got)
		}
		n.works(command)
	}
	cnitest.RunIn(t, n.b.NetNS, "ip", "link", "set", "eth0", "address", "02:00:00:00:00:99")
	cnitest.RunIn(t, n.b.NetNS, "ip", "neigh", "flush", "dev", "eth0")
	if answer, err := cnitest.Ask(n.b.NetNS, "tcp", "10.88.0.2:80"); err == nil {
		t.Errorf("with another hardware address the answer is %q", answer)
	}
}

// A DEL of which half is done when rules are restored leaves nothing either.
func TestRestoredInTheMiddleOfADel(t *testing.T) {
	needIPTables(t)
	for name, keys := range map[string][2]string{
		"nftables": {``, `"ipMasq": true,`}, "iptables": {`"backend": "iptables",`, `"ipMasq": true, "ipMasqBackend": "iptables",`},
	} {
		t.Run(name, func(t *testing.T) {
			n := newFlushed(t, with(dualStack(t, "1.1.0"), keys[0], keys[1]))
			keeper := keeperOf(n.node)
			whole, cache := n.list.Plugins, t.TempDir()
			if err := os.CopyFS(cache, os.DirFS(n.node.Cache)); err != nil {
				t.Fatal(err)
			}
			n.list.Plugins = whole[1:]
			if err := n.node.Del(n.list, n.a); err != nil {
				t.Fatal(err)
			}
			// portmap's DEL has run, and the result is in the cache still
			if err := errors.Join(os.RemoveAll(n.node.Cache), os.CopyFS(n.node.Cache, os.DirFS(cache))); err != nil {
				t.Fatal(err)
			}
			n.list.Plugins = whole
			if got := restored(t, keeper); got == "" {
				t.Error("nothing was restored")
			}
			n.list.Plugins = whole[:1] // now ptp's
			if err := n.node.Del(n.list, n.a); err != nil {
				t.Fatal(err)
			}
			if got := restored(t, keeper); got != "" {
				t.Errorf("restored rules of %q", got)
			}
			leavesNothing(t, n.node, "8080", "kindnet/a/", `id: \"a\"`)
		})
	}
}
