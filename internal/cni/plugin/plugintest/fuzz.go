// SPDX-License-Identifier: Apache-2.0

// Package plugintest fuzzes what plugins have in common.
package plugintest

import (
	"net"
	"testing"

	"github.com/containernetworking/cni/pkg/types"

	"eastwest/internal/cni/plugin"
)

// FuzzParse fuzzes how a plugin that makes devices reads its configuration: whatever comes, it is refused or understood.
func FuzzParse(f *testing.F, parse func(stdin []byte, cniArgs string) (*types.PluginConf, net.HardwareAddr, error)) {
	f.Add([]byte(`{"name": "net", "cniVersion": "1.1.0", "mtu": 1400, "mode": "vepa", "vlan": 7, "isDefaultGateway": true, "runtimeConfig": {"mac": "02:00:00:00:00:01"},
		"prevResult": {"cniVersion": "0.3.1", "ips": [{"version": "4", "address": "10.0.0.2/24"}]}}`), "IgnoreUnknown=1;MAC=02:00:00:00:00:02")
	f.Fuzz(func(t *testing.T, stdin []byte, cniArgs string) {
		conf, mac, err := parse(stdin, cniArgs)
		if err != nil {
			return
		}
		if _, err := plugin.PrevResult(conf); err != nil {
			return
		}
		if mac != nil && len(mac) == 0 {
			t.Error("an empty hardware address was accepted")
		}
	})
}
