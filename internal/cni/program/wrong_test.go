// SPDX-License-Identifier: Apache-2.0

package program_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/types"
	"golang.org/x/sys/unix"

	"eastwest/internal/cni/cnitest"
)

// failure reads the error that a plugin printed.
func failure(t *testing.T, out []byte, err error) types.Error {
	t.Helper()
	var failed types.Error
	if err == nil || json.Unmarshal(out, &failed) != nil {
		t.Errorf("the plugin printed %q (%v), want an error", out, err)
	}
	return failed
}

// What a runtime gets wrong has the specification's code, a message that names the container and the plugin, and no effect.
func TestWrongCallsFailWithTheSpecificationsCodes(t *testing.T) {
	const ipam = `"ipam": {"type": "host-local", "dataDir": "DIR", "subnet": "10.244.1.0/30"}`
	const prev = `"prevResult": {"cniVersion": "1.1.0", "interfaces": [{"name": "eth0", "sandbox": "/x"}], "ips": [{"address": "10.244.1.2/24", "interface": 0}]}`
	for name, c := range map[string]struct {
		verb, plugin, conf string
		netns              string // instead of the container's
		code               uint
		says               string
	}{
		"malformed JSON":    {"ADD", "ptp", `{"cniVersion": "1.1.0", `, "", types.ErrDecodingFailure, "unexpected end of JSON input"},
		"wrong type":        {"ADD", "ptp", `{"cniVersion": "1.1.0", "name": "net", "mtu": "x", ` + ipam + `}`, "", types.ErrDecodingFailure, "mtu"},
		"wrong type, DEL":   {"DEL", "bridge", `{"cniVersion": "1.1.0", "name": "net", "mtu": "x", ` + ipam + `}`, "", types.ErrDecodingFailure, "mtu"},
		"unknown version":   {"ADD", "ptp", `{"cniVersion": "9.9.9", "name": "net", ` + ipam + `}`, "", types.ErrIncompatibleCNIVersion, "incompatible CNI versions"},
		"CHECK before 0.4":  {"CHECK", "ptp", `{"cniVersion": "0.3.1", "name": "net", ` + ipam + `}`, "", types.ErrIncompatibleCNIVersion, "does not allow CHECK"},
		"GC before 1.1":     {"GC", "ptp", `{"cniVersion": "1.0.0", "name": "net", ` + ipam + `}`, "", types.ErrIncompatibleCNIVersion, "does not allow GC"},
		"no name":           {"ADD", "ptp", `{"cniVersion": "1.1.0", ` + ipam + `}`, "", types.ErrInvalidNetworkConfig, "missing network name"},
		"unknown verb":      {"MOVE", "ptp", `{"cniVersion": "1.1.0", "name": "net", ` + ipam + `}`, "", types.ErrInvalidEnvironmentVariables, "MOVE"},
		"no IPAM plugin":    {"ADD", "ptp", `{"cniVersion": "1.1.0", "name": "net"}`, "", types.ErrInvalidNetworkConfig, "no IPAM plugin is named"},
		"unknown IPAM":      {"ADD", "bridge", `{"cniVersion": "1.1.0", "name": "net", "ipam": {"type": "nope"}}`, "", types.ErrInvalidNetworkConfig, `"nope"`},
		"missing namespace": {"ADD", "ptp", `{"cniVersion": "1.1.0", "name": "net", ` + ipam + `}`, "/run/netns/not-there", types.ErrInvalidNetNS, "/run/netns/not-there"},
		"no lo":             {"ADD", "loopback", `{"cniVersion": "1.1.0", "name": "net"}`, "/run/netns/not-there", types.ErrInvalidNetNS, "/run/netns/not-there"},
		"nothing to tune":   {"ADD", "tuning", `{"cniVersion": "1.1.0", "name": "net", "mtu": 1400, ` + prev + `}`, "/run/netns/not-there", types.ErrInvalidNetNS, "/run/netns/not-there"},
		"nowhere to attach": {"ADD", "bridge", `{"cniVersion": "1.1.0", "name": "net", ` + ipam + `}`, "/run/netns/not-there", types.ErrInvalidNetNS, "/run/netns/not-there"},
		"not a namespace":   {"ADD", "macvlan", `{"cniVersion": "1.1.0", "name": "net", "master": "lo", ` + ipam + `}`, "/etc/passwd", types.ErrInvalidNetNS, "/etc/passwd"},
		"no prevResult":     {"ADD", "portmap", `{"cniVersion": "1.1.0", "name": "net"}`, "", types.ErrInvalidNetworkConfig, "prevResult missing"},
		"wrong prevResult":  {"ADD", "portmap", `{"cniVersion": "1.1.0", "name": "net", "prevResult": {"cniVersion": "1.1.0", "ips": 3}}`, "", types.ErrDecodingFailure, "prevResult"},
		"port of 17 bits":   {"ADD", "portmap", `{"cniVersion": "1.1.0", "name": "net", "runtimeConfig": {"portMappings": [{"hostPort": 65537, "containerPort": 80}]}, ` + prev + `}`, "", types.ErrInvalidNetworkConfig, "65537"},
		"unknown backend":   {"ADD", "firewall", `{"cniVersion": "1.1.0", "name": "net", "backend": "x", ` + prev + `}`, "", types.ErrInvalidNetworkConfig, `"x"`},
		"host's namespace":  {"ADD", "ptp", `{"cniVersion": "1.1.0", "name": "net", ` + ipam + `}`, "host", types.ErrInvalidNetNS, "should not be the same"},
	} {
		t.Run(name, func(t *testing.T) {
			node := cnitest.NewNode(t)
			dir := filepath.Join(t.TempDir(), "leases")
			ns := cnitest.Pod(t, "killed").NetNS
			if c.netns != "" {
				ns = strings.Replace(c.netns, "host", node.NS, 1)
			}
			out, err := callPlugin(t, node, c.plugin, ns, c.verb, strings.ReplaceAll(c.conf, "DIR", dir))
			got := failure(t, out, err)
			if got.Code != c.code || !strings.Contains(got.Msg, c.says) {
				t.Errorf("code %d, %q; want %d and %q", got.Code, got.Msg, c.code, c.says)
			}
			if !strings.HasPrefix(got.Msg, c.plugin+" "+c.verb) || !strings.Contains(got.Msg, "container killed") {
				t.Errorf("%q does not name the plugin and the container", got.Msg)
			}
			nothingLeft(t, node, dir)
		})
	}
}

// What no container could be attached with any more, containers that were are detached with: DEL and GC ask for no more than whose they
// are.
func TestDetachedWithWhatIsWrongByNow(t *testing.T) {
	const ports = `"runtimeConfig": {"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]}`
	for name, c := range map[string]struct{ plugin, right, wrong string }{
		"backend of masquerading":  {"ptp", `"ipMasq": true`, `"ipMasq": true, "ipMasqBackend": "x"`},
		"ranges":                   {"ptp", `"mtu": 1400`, `"mtu": 1400, "ipam": {"type": "host-local", "dataDir": "DIR", "subnet": "10.244.1.9/24"}`},
		"both modes":               {"bridge", `"ipMasq": true, "hairpinMode": true`, `"ipMasq": true, "hairpinMode": true, "promiscMode": true`},
		"hardware address":         {"bridge", `"runtimeConfig": {"mac": "02:00:00:00:00:01"}`, `"runtimeConfig": {"mac": "x"}`},
		"VLAN":                     {"bridge", `"macspoofchk": true`, `"macspoofchk": true, "vlan": 5000`},
		"mode":                     {"macvlan", `"master": "lan"`, `"master": "lan", "mode": "x"`},
		"protocol":                 {"portmap", attachedTo + `, ` + ports, attachedTo + `, ` + strings.Replace(ports, "tcp", "x", 1)},
		"backend of ports":         {"portmap", attachedTo + `, ` + ports, attachedTo + `, "backend": "x", ` + ports},
		"bit":                      {"portmap", attachedTo + `, ` + ports, attachedTo + `, "markMasqBit": 77, ` + ports},
		"ingress policy":           {"firewall", attachedTo, attachedTo + `, "ingressPolicy": "x"`},
		"firewalld that is gone":   {"firewall", attachedTo, attachedTo + `, "backend": "firewalld"`},
		"requested address, range": {"host-local", `"mtu": 1`, `"runtimeConfig": {"ips": ["192.0.2.1"]}, "ipam": {"type": "host-local", "dataDir": "DIR", "ranges": []}`},
	} {
		t.Run(name, func(t *testing.T) {
			if c.plugin == "firewall" {
				needIPTables(t)
			}
			node, pod, dir := cnitest.NewNode(t), cnitest.Pod(t, "killed"), filepath.Join(t.TempDir(), "leases")
			node.Run("ip", "link", "add", "lan", "type", "bridge")
			conf := func(keys string) string {
				if !strings.Contains(keys, "ipam") {
					keys += `, "ipam": {"type": "host-local", "dataDir": "DIR", "subnet": "10.244.1.0/24"}`
				}
				return strings.ReplaceAll(fmt.Sprintf(`{"cniVersion": "1.1.0", "name": "net", "cni.dev/valid-attachments": [], "type": %q, %s}`, c.plugin, keys), "DIR", dir)
			}
			for _, verb := range []string{"DEL", "GC"} {
				if out, err := callPlugin(t, node, c.plugin, pod.NetNS, "ADD", conf(c.right)); err != nil {
					t.Fatalf("ADD: %s", out)
				}
				if out, err := callPlugin(t, node, c.plugin, pod.NetNS, "ADD", conf(c.wrong)); err == nil {
					t.Fatalf("ADD takes it: %s", out)
				}
				if out, err := callPlugin(t, node, c.plugin, pod.NetNS, verb, conf(c.wrong)); err != nil {
					t.Errorf("%s: %s", verb, out)
				}
				if c.plugin == "macvlan" && verb == "GC" { // its device goes with the namespace
					continue
				}
				if c.wrong != "" && name != "firewalld that is gone" {
					nothingLeft(t, node, dir)
				}
			}
		})
	}
}

// The container's namespace is for those who work in it: addresses, and rules of the host, are had without.
func TestNamespaceThatIsNotThere(t *testing.T) {
	node, dir := cnitest.NewNode(t), filepath.Join(t.TempDir(), "leases")
	for plugin, keys := range map[string]string{
		"host-local": fmt.Sprintf(`"ipam": {"type": "host-local", "dataDir": %q, "subnet": "10.244.1.0/24"}`, dir),
		"portmap":    mapped,
	} {
		conf := fmt.Sprintf(`{"cniVersion": "1.1.0", "name": "net", "type": %q, %s}`, plugin, keys)
		for _, verb := range []string{"ADD", "DEL"} {
			if out, err := callPlugin(t, node, plugin, "/run/netns/not-there", verb, conf); err != nil {
				t.Errorf("%s %s: %s", plugin, verb, out)
			}
		}
	}
	nothingLeft(t, node, dir)
}

// nothingLeft looks for devices, routes, rules and leases.
func nothingLeft(t *testing.T, node *cnitest.Node, dir string) {
	t.Helper()
	left := node.Run("ip", "-o", "link", "show", "type", "veth") + node.Run("ip", "route") + strings.Join(leases(t, dir), " ")
	if rules := node.Rules(); left != "" || strings.Contains(rules, "/eth0") {
		t.Errorf("this is left: %s\n%s", left, rules)
	}
}

// An ADD that fails after IPAM has answered gives the addresses back, and leaves no device.
func TestFailedAddGivesAddressesBack(t *testing.T) {
	for plugin, c := range map[string]struct {
		wrong, right string
		prepare      []string
	}{
		"ptp":     {wrong: `"mtu": 20`, right: `"mtu": 1400`},
		"bridge":  {wrong: `"bridge": "br7", "isGateway": true`, right: `"bridge": "br8", "isGateway": true`, prepare: []string{"ip link add br7 type bridge", "ip addr add 10.244.1.99/24 dev br7"}},
		"macvlan": {wrong: `"master": "lan", "mtu": 1400`, right: `"master": "lan"`, prepare: []string{"ip link add lan type veth peer name wire", "ip link add held link lan type macvlan mode passthru"}},
	} {
		t.Run(plugin, func(t *testing.T) {
			node := cnitest.NewNode(t)
			dir := filepath.Join(t.TempDir(), "leases")
			for _, command := range c.prepare {
				node.Run(strings.Fields(command)...)
			}
			conf := fmt.Sprintf(`{"cniVersion": "1.1.0", "name": "net", "plugins": [{"type": %q, "KEYS": 0, "ipam": {"type": "host-local", "dataDir": %q, "subnet": "10.244.1.0/24"}}]}`, plugin, dir)
			pod := cnitest.Pod(t, "a")
			if _, err := node.TryAdd(cnitest.List(t, strings.ReplaceAll(conf, `"KEYS": 0`, c.wrong)), pod); err == nil {
				t.Fatal("ADD went through")
			}
			if held := leases(t, dir); len(held) != 0 {
				t.Errorf("these are still held: %v", held)
			}
			if links := cnitest.RunIn(t, pod.NetNS, "ip", "-o", "link"); strings.Contains(links, "eth0") {
				t.Errorf("the container has %s", links)
			}
			if plugin == "macvlan" {
				node.Run("ip", "link", "del", "held")
			}
			node.Add(cnitest.List(t, strings.ReplaceAll(conf, `"KEYS": 0`, c.right)), pod)
		})
	}
}

// With a dataDir that is read-only or full, ADD fails and leaves nothing; DEL frees what is held as soon as it can.
func TestDataDirReadOnlyOrFull(t *testing.T) {
	for name, remount := range map[string]string{"read-only": "size=1m", "full": "size=1m,nr_inodes=8"} {
		t.Run(name, func(t *testing.T) {
			node := cnitest.NewNode(t)
			dir := t.TempDir()
			if err := unix.Mount("tmpfs", dir, "tmpfs", 0, remount); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
			conf := fmt.Sprintf(`{"cniVersion": "1.1.0", "name": "net", "plugins": [{"type": "ptp", "ipam": {"type": "host-local", "dataDir": %q, "subnet": "10.244.1.0/24"}}]}`, dir)
			list, first, second := cnitest.List(t, conf), cnitest.Pod(t, "first"), cnitest.Pod(t, "second")
			node.Add(list, first)
			if name == "read-only" {
				if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
					t.Fatal(err)
				}
			}
			_, err := node.TryAdd(list, second)
			if err == nil || !strings.Contains(err.Error(), "container second") || !strings.Contains(err.Error(), dir) {
				t.Errorf("ADD: %v, want an error that names the container and %s", err, dir)
			}
			if held := leases(t, dir); len(held) != 1 {
				t.Errorf("held: %v", held)
			}
			if links := cnitest.RunIn(t, second.NetNS, "ip", "-o", "link"); strings.Contains(links, "eth0") {
				t.Errorf("the second container has %s", links)
			}
			_ = node.Del(list, first) // what can be freed is
			if name == "read-only" {
				if err := errors.Join(unix.Mount("", dir, "", unix.MS_REMOUNT, ""), node.Del(list, first)); err != nil {
					t.Errorf("DEL once it can be written: %v", err)
				}
			}
			nothingLeft(t, node, dir)
			node.Add(list, second)
		})
	}
}

// Leases that the reference plugin left on a file system with no room for an index are known and freed, where it can be written.
func TestLeasesWithoutRoomForAnIndex(t *testing.T) {
	node, pod, dir := cnitest.NewNode(t), cnitest.Pod(t, "killed"), t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=1m,nr_inodes=6"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	for name, text := range map[string]string{"10.244.1.2": "killed\r\neth0", "10.244.1.3": "other\r\neth0", "last_reserved_ip.0": "10.244.1.3", "lock": ""} {
		err := errors.Join(os.MkdirAll(filepath.Join(dir, "net"), 0o755), os.WriteFile(filepath.Join(dir, "net", name), []byte(text), 0o600))
		if err != nil {
			t.Fatal(err)
		}
	}
	conf := fmt.Sprintf(`{"cniVersion": "1.1.0", "name": "net", "ipam": {"type": "host-local", "dataDir": %q, "subnet": "10.244.1.0/24"}}`, dir)
	call := func(verb string) (string, error) {
		out, err := callPlugin(t, node, "host-local", pod.NetNS, verb, conf)
		return string(out), err
	}
	if out, err := call("CHECK"); err != nil {
		t.Errorf("CHECK where there is no room: %s", out)
	}
	if out, err := call("ADD"); err == nil || !strings.Contains(out, "10.244.1.2 has been allocated to killed") {
		t.Errorf("a second ADD where there is no room: %s", out)
	}
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	if out, err := call("CHECK"); err != nil {
		t.Errorf("CHECK where nothing can be written: %s", out)
	}
	if out, err := call("DEL"); err == nil || !strings.Contains(out, "read-only") {
		t.Errorf("DEL where nothing can be written: %s", out)
	}
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT, ""); err != nil {
		t.Fatal(err)
	}
	if out, err := call("DEL"); err != nil {
		t.Errorf("DEL where there is no room: %s", out)
	}
	if held := leases(t, dir); len(held) != 1 || filepath.Base(held[0]) != "10.244.1.3" {
		t.Errorf("held after DEL: %v", held)
	}
}

// A list of which one plugin is missing fails with its name, and what the others made goes with the DEL after it is there.
func TestMissingPlugin(t *testing.T) {
	node := cnitest.NewNode(t)
	portmap, dir := filepath.Join(node.Bin, "portmap"), filepath.Join(t.TempDir(), "leases")
	list := cnitest.List(t, fmt.Sprintf(kindnet, "1.0.0", dir, "", `[{"subnet": "10.244.1.0/24"}]`))
	if err := os.Rename(portmap, portmap+".away"); err != nil {
		t.Fatal(err)
	}
	pod := cnitest.Pod(t, "a")
	if _, err := node.TryAdd(list, pod); err == nil || !strings.Contains(err.Error(), `"portmap"`) {
		t.Errorf("ADD: %v, want an error that names the plugin", err)
	}
	_ = node.Del(list, pod)
	if err := errors.Join(os.Rename(portmap+".away", portmap), node.Del(list, pod)); err != nil {
		t.Errorf("DEL: %v", err)
	}
	nothingLeft(t, node, dir)
}

// DEL of what was never added, or whose namespace is gone, is no error, however often it comes.
func TestDelWithoutAdd(t *testing.T) {
	file := filepath.Join(t.TempDir(), "pin") // of a namespace, after the machine was off
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, plugin := range []string{"ptp", "bridge", "macvlan", "portmap", "firewall", "tuning", "loopback", "host-local"} {
		t.Run(plugin, func(t *testing.T) {
			node, pod, dir := cnitest.NewNode(t), cnitest.Pod(t, "killed"), filepath.Join(t.TempDir(), "leases")
			node.Run("ip", "link", "add", "lan", "type", "bridge")
			conf := fmt.Sprintf(`{"cniVersion": "1.1.0", "name": "net", "type": %q, "ipMasq": true, "macspoofchk": true, "master": "lan", "mtu": 1400,
				"runtimeConfig": {"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "udp"}]},
				"ipam": {"type": "host-local", "dataDir": %q, "subnet": "10.244.1.0/24"}}`, plugin, dir)
			for _, ns := range []string{pod.NetNS, "/run/netns/not-there", file, ""} {
				for range 2 {
					if out, err := callPlugin(t, node, plugin, ns, "DEL", conf); err != nil {
						t.Errorf("DEL in namespace %q: %v\n%s", ns, err, out)
					}
				}
			}
			nothingLeft(t, node, dir)
		})
	}
}

// Ranges that are full and addresses that are taken are refused with whom they belong to, and what is taken is left alone.
func TestTakenAddressesNamesAndRanges(t *testing.T) {
	node, dir := cnitest.NewNode(t), t.TempDir()
	conf := fmt.Sprintf(`{"cniVersion": "1.1.0", "name": "net", "plugins": [{"type": "ptp", "ipam": {"type": "host-local", "dataDir": %q, "subnet": "10.244.1.0/29", "rangeEnd": "10.244.1.3"}}]}`, dir)
	list, first, second, third := cnitest.List(t, conf), cnitest.Pod(t, "first"), cnitest.Pod(t, "second"), cnitest.Pod(t, "third")
	node.Add(list, first)
	refused := func(pod *libcni.RuntimeConf, says ...string) {
		t.Helper()
		_, err := node.TryAdd(list, pod)
		if err == nil {
			t.Fatalf("ADD of %s went through", pod.ContainerID)
		}
		for _, text := range append(says, "ptp ADD", "container "+pod.ContainerID) {
			if !strings.Contains(err.Error(), text) {
				t.Errorf("ADD of %s: %q does not say %q", pod.ContainerID, err, text)
			}
		}
	}
	second.Args = [][2]string{{"IgnoreUnknown", "1"}, {"IP", "10.244.1.2"}}
	refused(second, "10.244.1.2 is not available", "container first interface eth0")
	second.Args = nil
	node.Add(list, second)
	refused(third, "no IP addresses available in range set: 10.244.1.1-10.244.1.3", "2 held", "first (1)", "second (1)")
	if err := node.Del(list, second); err != nil {
		t.Fatal(err)
	}
	cnitest.RunIn(t, third.NetNS, "ip", "link", "add", "eth0", "type", "bridge")
	refused(third, "interface eth0", "the name is taken")
	if got := cnitest.RunIn(t, third.NetNS, "ip", "-d", "link", "show", "eth0"); !strings.Contains(got, "bridge") {
		t.Errorf("what had the name is now %s", got)
	}
	if held := leases(t, dir); len(held) != 1 {
		t.Errorf("held: %v", held)
	}
	if err := node.Check(list, first); err != nil {
		t.Errorf("CHECK of the first: %v", err)
	}
}
