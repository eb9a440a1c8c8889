// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"net"
	"testing"

	"github.com/containernetworking/cni/pkg/types"

	"eastwest/internal/cni/plugin/plugintest"
)

func FuzzParse(f *testing.F) {
	plugintest.FuzzParse(f, func(stdin []byte, cniArgs string) (*types.PluginConf, net.HardwareAddr, error) {
		c, err := parse(stdin, cniArgs)
		if err != nil {
			return nil, nil, err
		}
		return &c.PluginConf, c.mac, nil
	})
}
