// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"testing"

	"eastwest/internal/cni/plugin"
)

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"name": "net", "cniVersion": "1.1.0", "mtu": 1400, "mode": "vepa", "vlan": 7, "isDefaultGateway": true, "runtimeConfig": {"mac": "02:00:00:00:00:01"},
		"prevResult": {"cniVersion": "0.3.1", "ips": [{"version": "4", "address": "10.0.0.2/24"}]}}`), "IgnoreUnknown=1;MAC=02:00:00:00:00:02")
	f.Fuzz(func(t *testing.T, stdin []byte, cniArgs string) {
		c, err := parse(stdin, cniArgs)
		if err != nil {
			return
		}
		if _, err := plugin.PrevResult(&c.PluginConf); err != nil {
			return
		}
		if c.mac != nil && len(c.mac) == 0 {
			t.Error("an empty hardware address was accepted")
		}
	})
}
