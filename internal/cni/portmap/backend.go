// SPDX-License-Identifier: Apache-2.0

package portmap

import (
	"eastwest/internal/cni/plugin"
)

// checkBackend refuses what cannot be honoured rather than mapping ports in another way than asked for.
func (c *config) checkBackend() error {
	switch c.Backend {
	case "", "nftables":
	default:
		return plugin.ConfigError("unrecognized backend %q", c.Backend)
	}
	if c.ExternalSetMarkChain != nil {
		return plugin.ConfigError("nftables backend was requested but configuration contains iptables-specific options [externalSetMarkChain]")
	}
	for _, conditions := range [][]string{c.ConditionsV4, c.ConditionsV6} {
		if len(conditions) > 0 {
			return plugin.ConfigError("conditions %q: only unconditional mappings are supported", conditions)
		}
	}
	return nil
}
