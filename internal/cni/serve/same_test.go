// SPDX-License-Identifier: Apache-2.0

package serve_test

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"eastwest/internal/cni/cnitest"
	"eastwest/internal/kernel/netns"
	"eastwest/internal/kernel/netns/netnstest"
)

// same are plugins and what they are configured with; some of it is wrong.
var same = map[string]string{
	"ptp":                       `"ipMasq": true, "mtu": 1400, "dns": {"nameservers": ["192.0.2.53"]}, ` + both,
	"ptp, iptables":             `"ipMasq": true, "ipMasqBackend": "iptables", ` + both,
	"bridge":                    `"isDefaultGateway": true, "ipMasq": true, "hairpinMode": true, "macspoofchk": true, "ipspoofchk": true, ` + both,
	"bridge without addresses":  `"portIsolation": true, "runtimeConfig": {"mac": "02:00:00:00:00:07"}`,
	"bridge, wrong":             `"hairpinMode": true, "promiscMode": true, ` + both,
	"macvlan":                   `"master": "lan", "mode": "private", "ipam": {"type": "host-local", "dataDir": %q, "ranges": [[{"subnet": "10.244.1.0/24"}]]}`,
	"macvlan, wrong master":     `"master": "nope", ` + both,
	"portmap":                   twoPorts,
	"portmap, all masqueraded":  `"masqAll": true, ` + twoPorts,
	"portmap with iptables":     `"backend": "iptables", ` + twoPorts,
	"portmap, wrong port":       strings.Replace(twoPorts, "8080", "80800", 1),
	"portmap without ports":     attached,
	"firewall":                  `"backend": "iptables", "ingressPolicy": "open", ` + attached,
	"tuning, no interface":      `"mtu": 1300, "sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1"}, ` + attached,
	"loopback":                  ``,
	"host-local":                both,
	"host-local, no such range": `"runtimeConfig": {"ips": ["192.0.2.1"]}, ` + both,
}

// Every verb says and does the same by the server as by the plugin alone.
func TestServedAsAlone(t *testing.T) {
	for name, keys := range same {
		t.Run(name, func(t *testing.T) {
			plugin := strings.FieldsFunc(name, func(r rune) bool { return r == ',' || r == ' ' })[0]
			netnstest.RequireRoot(t)
			dir := t.TempDir()
			leases, sandbox := filepath.Join(dir, "leases"), filepath.Join(dir, "netns")
			if strings.Contains(keys, "%q") {
				keys = fmt.Sprintf(keys, leases)
			}
			alone := story(t, plugin, keys, leases, sandbox)
			n := serving(t, plain)
			served := story(t, plugin, keys, leases, sandbox)
			calls := len(n.served())
			n.stop()
			if calls != len(verbs) {
				t.Errorf("the server did %d calls of %d", calls, len(verbs))
			}
			for i := range alone {
				if alone[i] != served[i] {
					t.Errorf("%s alone:\n%s\nserved:\n%s", verbs[i], alone[i], served[i])
				}
			}
		})
	}
}

// verbs are called one after another; "late" ones without the container's namespace.
var verbs = []string{"VERSION", "STATUS", "ADD", "CHECK", "ADD", "GC", "CHECK", "DEL", "CHECK", "late DEL", "GC", "MOVE"}

// story calls all verbs and returns what each said, and what there was after it.
func story(t *testing.T, plugin, keys, leases, sandbox string) (told []string) {
	t.Helper()
	run(t, "ip link add lan type bridge; rm -rf "+leases)
	if err := netns.Create(sandbox); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := netns.Remove(sandbox); err != nil {
			t.Error(err)
		}
	}()
	defer run(t, "ip link del lan; ip link del cni0; nft flush ruleset; true")
	result := ""
	for _, verb := range verbs {
		conf := fmt.Sprintf(`{"cniVersion": "1.1.0", "name": "net", "type": %q, "cni.dev/valid-attachments": [{"containerID": "one", "ifname": "eth0"}]`, plugin)
		if keys != "" {
			conf += ", " + keys
		}
		if verb == "CHECK" && result != "" && !strings.Contains(conf, "prevResult") {
			conf += `, "prevResult": ` + result
		}
		c := calling(plugin, strings.TrimPrefix(verb, "late "), "one", conf+"}")
		if verb != "late DEL" {
			c.Env = append(c.Env, "CNI_NETNS="+sandbox)
		}
		var stderr strings.Builder
		c.Stderr = &stderr
		out, code := said(t, c)
		if verb == "ADD" && code == 0 {
			result = out
		}
		text := fmt.Sprintf("code %d\n%s\n%s\n%s", code, out, stderr.String(), present(t, leases, sandbox))
		told = append(told, random.ReplaceAllString(text, "…"))
	}
	return told
}

// random is what differs each time: hardware addresses, numbers of devices and counters.
var random = regexp.MustCompile(`([0-9a-f]{2}:){5}[0-9a-f]{2}|fe80::[0-9a-f:]+|(?m:^[0-9]+: )|@if[0-9]+|link-netnsid [0-9]+|packets [0-9]+ bytes [0-9]+|handle [0-9]+`)

// present is what there is of devices, addresses, routes, rules and leases.
func present(t *testing.T, leases, sandbox string) string {
	t.Helper()
	const list = `ip -o link | sed 's/ qlen.*//; s/<.*>//; s/state [A-Z]*//'; ip -4 addr | grep inet; (ip route; ip -6 route) | sed '/fe80/d; s/ linkdown//'`
	const rules = "nft list ruleset | sed /expires/d | sort" // chains are in any order; what expires is gone
	return run(t, list) + cnitest.RunIn(t, sandbox, "sh", "-c", list) + run(t, rules) + run(t, "find "+leases+" -type f ! -name stamp | sort | xargs -r tail -n +1; true")
}
