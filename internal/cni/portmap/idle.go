// SPDX-License-Identifier: Apache-2.0

package portmap

import (
	"bytes"

	"eastwest/internal/cni/plugin"
)

// Idle answers a call for a container that has no ports to map, as the plugin would: ADD passes on what came before, DEL has nothing to
// remove. So a runtime need not start the plugin, which takes longer than its work. ok is false where there is anything to do, or
// to complain about.
func Idle(command string, stdin []byte) (answer []byte, ok bool) {
	c, err := parse(stdin)
	if err != nil || len(c.mappings) > 0 || !plugin.Supports(c.CNIVersion) {
		return nil, false
	}
	switch command {
	case "DEL":
		return nil, true
	case "ADD":
		prev, err := plugin.NeedPrevResult(&c.PluginConf)
		if err != nil {
			return nil, false
		}
		result, err := prev.GetAsVersion(c.CNIVersion)
		if err != nil {
			return nil, false
		}
		var out bytes.Buffer
		if err := result.PrintTo(&out); err != nil {
			return nil, false
		}
		return out.Bytes(), true
	}
	return nil, false
}
