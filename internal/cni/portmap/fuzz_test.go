// SPDX-License-Identifier: Apache-2.0

package portmap

import (
	"net/netip"
	"testing"

	"eastwest/internal/cni/iptrule"
	"eastwest/internal/cni/plugin"
)

// Whatever a configuration says, it is refused or makes entries that have the sizes of their sets, and rules that name
// their owner.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"name": "net", "cniVersion": "1.1.0", "conditionsV4": ["!", "-d", "192.0.2.1"], "markMasqBit": 7, "masqAll": true, "runtimeConfig": {"portMappings":
		[{"hostPort": 80, "containerPort": 8080, "protocol": "udp", "hostIP": "127.0.0.1"}, {"hostPort": 81, "containerPort": 8081, "protocol": "sctp", "hostIP": "::"}]},
		"prevResult": {"cniVersion": "1.1.0", "interfaces": [{"name": "eth0", "sandbox": "/x"}], "ips": [{"address": "10.0.0.2/24", "interface": 0}]}}`))
	o := plugin.Owner{Network: "net", ContainerID: "c", IfName: "eth0"}
	size := map[string]int{"hostport4": 8, "hostport6": 8, "hostip4": 12, "hostip6": 24, "masquerade4": 8, "masquerade6": 32, "masqall4": 12, "masqall6": 24}
	f.Fuzz(func(t *testing.T, stdin []byte) {
		c, err := parse(stdin)
		if err != nil {
			return
		}
		addrs := []netip.Prefix{netip.MustParsePrefix("10.0.0.2/24"), netip.MustParsePrefix("fd00::2/64")}
		if prev, err := plugin.PrevResult(&c.PluginConf); err == nil && prev != nil {
			addrs = append(addrs, containerAddrs(prev, "eth0")...)
		}
		for _, a := range addrs {
			for _, e := range entries(c, a.Addr(), o.String()) {
				if len(e.element.Key) != size[e.set.Name] {
					t.Errorf("an entry of %s has a key of %d bytes", e.set.Name, len(e.element.Key))
				}
			}
			for _, rule := range entryRules(c, o, a.Addr()) {
				if got, ok := iptrule.Owner(rule); !ok || got.ContainerID != "c" {
					t.Errorf("%s does not name its owner", rule)
				}
			}
		}
	})
}
