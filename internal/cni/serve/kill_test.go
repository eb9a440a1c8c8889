// SPDX-License-Identifier: Apache-2.0

package serve_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"eastwest/internal/cni/cnitest"
	"eastwest/internal/cni/entry"
	"eastwest/internal/cni/program"
	"eastwest/internal/kernel/netns/netnstest"
)

const (
	both = `"ipam": {"type": "host-local", "dataDir": %q, "ranges": [[{"subnet": "10.244.1.0/24"}], [{"subnet": "fd00:10:244:1::/64"}]]}`
	// attached is what another plugin made, for those that come after it.
	attached = `"prevResult": {"cniVersion": "1.1.0", "interfaces": [{"name": "eth0", "sandbox": "/x"}], "ips": [{"address": "10.244.1.2/24", "interface": 0}]}`
	twoPorts = attached + `, "runtimeConfig": {"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}, {"hostPort": 8081, "containerPort": 80, "hostIP": "127.0.0.1"}]}`
)

// killed are the plugins, and what is configured, whose server is killed at every step.
var killed = map[string]string{
	"ptp":        `"ipMasq": true, ` + both,
	"bridge":     `"isGateway": true, "macspoofchk": true, "ipspoofchk": true, "ipMasq": true, ` + both,
	"macvlan":    `"master": "lan", "ipam": {"type": "host-local", "dataDir": %q, "ranges": [[{"subnet": "10.244.1.0/24"}]]}`,
	"portmap":    twoPorts,
	"firewall":   `"backend": "iptables", ` + attached,
	"host-local": both,
}

// When the server is killed before any of its calls that change something, the plugin has done the call itself or says that it
// is not known how far it came. DEL or GC, by the plugin alone or by the next server, then leaves nothing of the container,
// and all of its neighbour.
func TestServerKilledAtEveryStep(t *testing.T) {
	for name, keys := range killed {
		t.Run(name, func(t *testing.T) {
			v := newVictim(t, name, keys)
			for _, what := range []string{"first ADD", "ADD", "DEL"} {
				n := 1
				for ; v.killedAt(what, n); n++ {
				}
				t.Logf("%s: killed before each of %d calls", what, n-1)
				if n < 4 {
					t.Errorf("%s does only %d calls that change something", what, n-1)
				}
			}
		})
	}
}

// victim is a container whose server is killed, beside a neighbour of the same network.
type victim struct {
	*testing.T
	plugin, conf, leases string
	sandboxes            map[string]string
	neighbour            string // what it has
	round                int
}

func newVictim(t *testing.T, name, keys string) *victim {
	v := &victim{T: t, plugin: name, leases: filepath.Join(t.TempDir(), "leases"), sandboxes: map[string]string{}}
	for _, container := range []string{"killed", "neighbour"} {
		v.sandboxes[container] = netnstest.New(t)
	}
	run(t, "ip link add lan type bridge")
	t.Cleanup(func() {
		run(t, "ip link del lan; ip link del cni0; nft flush ruleset; true")
	})
	if strings.Contains(keys, "%q") {
		keys = fmt.Sprintf(keys, v.leases)
	}
	v.conf = fmt.Sprintf(`{"cniVersion": "1.1.0", "name": "net", "type": %q, "cni.dev/valid-attachments": [{"containerID": "neighbour", "ifname": "eth0"}], %s}`, name, keys)
	return v
}

func (v *victim) killedAt(what string, n int) bool {
	v.Helper()
	verb := strings.TrimPrefix(what, "first ")
	if what == "first ADD" {
		v.must("DEL", "neighbour")
		run(v.T, "ip link del cni0; nft flush ruleset; rm -rf "+v.leases)
	} else {
		v.neighbours()
	}
	if verb == "DEL" {
		v.must("ADD", "killed")
	}
	out, code, serverKilled := v.served(verb, n)
	if code != 0 {
		if number, message := failure(v.T, out); !serverKilled || number != 11 || !strings.Contains(message, v.plugin+" "+verb+" of container killed interface eth0: ") {
			v.Fatalf("%s, server killed at call %d (%v): %s", what, n, serverKilled, out)
		}
	}
	v.cleaned(fmt.Sprintf("%s whose server was killed at call %d", what, n))
	return serverKilled
}

// neighbours has the neighbour attached and keeps what it has in mind.
func (v *victim) neighbours() {
	if v.neighbour != "" {
		return
	}
	conf := v.conf
	v.conf = strings.NewReplacer("8080", "9080", "8081", "9081", "10.244.1.2/24", "10.244.1.99/24").Replace(conf)
	v.must("ADD", "neighbour")
	v.conf = conf
	v.neighbour = v.left()
}

// cleaned cleans up in one of the four ways, in turn, and sees that the neighbour has what it had and nothing else is there.
func (v *victim) cleaned(after string) {
	v.Helper()
	verb := []string{"DEL", "GC"}[v.round%2]
	alone := v.round/2%2 == 0
	v.round++
	clean := func(verb string) {
		v.Helper()
		if alone {
			v.must(verb, "killed")
			return
		}
		if out, code, _ := v.served(verb, 0); code != 0 {
			v.Fatalf("%s by the next server after %s: %s", verb, after, out)
		}
	}
	clean(verb)
	left := v.left()
	if verb == "GC" && left != v.neighbour {
		clean("DEL") // what has no alias yet is nobody's to GC
		left = v.left()
	}
	if left != v.neighbour {
		v.Fatalf("after %s and %s (alone: %v) there is\n%s\nnot\n%s", after, verb, alone, left, v.neighbour)
	}
}

// left is what containers have: links, leases and elements of nftables' sets.
func (v *victim) left() string {
	list := "ip -o link show type veth; ip -o link show type macvlan"
	text := run(v.T, list)
	for _, sandbox := range v.sandboxes {
		text += cnitest.RunIn(v.T, sandbox, "sh", "-c", list)
	}
	text += run(v.T, "ls "+v.leases+"/net | grep '^[1f]'; nft list ruleset | grep -o '[^ ]* [^ ]* comment .*/.*/eth0.*'; iptables -S 2>/dev/null | grep /eth0; true")
	return text
}

// served starts a server that is killed at its nth call once it is called, calls it, and reports whether it was killed.
func (v *victim) served(verb string, n int) (out string, code int, killed bool) {
	v.Helper()
	log, err := os.Create(filepath.Join(v.TempDir(), "log"))
	if err != nil {
		v.Fatal(err)
	}
	defer log.Close()
	s, err := cnitest.StartSteps("", []string{filepath.Join(plugins, program.Name), "serve"}, os.Environ(), [3]*os.File{log, log, log}, 0)
	if err != nil {
		v.Fatal(err)
	}
	await(v.T, "socket", answers)
	s.KillAt(n)
	out, code = said(v.T, v.calling(verb, "killed"))
	s.Kill()
	_, killed = s.Wait()
	return out, code, killed
}

// answers reports whether a server is at the socket, by asking it for what it leaves to the plugin.
func answers() bool {
	conn, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: entry.Socket, Net: "unixpacket"})
	if err != nil {
		return false
	}
	defer conn.Close()
	_, err = conn.Write([]byte("nobody\x00"))
	n, _ := conn.Read(make([]byte, 8))
	return err == nil && n == 8
}

func (v *victim) calling(verb, container string) *exec.Cmd {
	c := calling(v.plugin, verb, container, v.conf)
	c.Env = append(c.Env, "CNI_NETNS="+v.sandboxes[container])
	return c
}

func (v *victim) must(verb, container string) {
	v.Helper()
	if out, code := said(v.T, v.calling(verb, container)); code != 0 {
		v.Fatalf("%s of %s: %s", verb, container, out)
	}
}

func run(t *testing.T, script string) string {
	t.Helper()
	out, err := exec.Command("sh", "-c", script).Output()
	if err != nil {
		t.Fatalf("%s: %v", script, err)
	}
	return string(out)
}
