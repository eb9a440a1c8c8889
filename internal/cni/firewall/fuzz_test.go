// SPDX-License-Identifier: Apache-2.0

package firewall

import (
	"net"
	"testing"

	"github.com/containernetworking/cni/pkg/types"

	"eastwest/internal/cni/plugin/plugintest"
)

func FuzzParse(f *testing.F) {
	plugintest.FuzzParse(f, func(stdin []byte, _ string) (*types.PluginConf, net.HardwareAddr, error) {
		c, err := parse(stdin)
		if err != nil {
			return nil, nil, err
		}
		return &c.PluginConf, nil, nil
	})
}
