// SPDX-License-Identifier: Apache-2.0

package portmap

import (
	"strings"

	"eastwest/internal/cni/plugin"
)

// The values of "backend".
const (
	backendNFTables = "nftables"
	backendIPTables = "iptables"
)

// chooseBackend settles which backend a configuration means. One that names none gets nftables, unless it has what only
// iptables understands, so that configurations written for the reference plugin work as they are.
func (c *config) chooseBackend() error {
	options := map[string][]string{}
	if c.ExternalSetMarkChain != nil {
		options[backendIPTables] = append(options[backendIPTables], "externalSetMarkChain")
	}
	for key, conditions := range map[string]*[]string{"conditionsV4": &c.ConditionsV4, "conditionsV6": &c.ConditionsV6} {
		if err := checkConditions(*conditions); err != nil {
			return err
		}
		if language := languageOf(*conditions); language != "" {
			options[language] = append(options[language], key)
		} else {
			*conditions = nil
		}
	}
	if c.Backend == nil {
		c.backend = backendNFTables
		if len(options[backendIPTables]) > 0 {
			c.backend = backendIPTables
		}
	} else {
		c.backend = *c.Backend
	}
	other := map[string]string{backendNFTables: backendIPTables, backendIPTables: backendNFTables}[c.backend]
	switch {
	case other == "":
		return plugin.ConfigError("unrecognized backend %q: it must be %s or %s", c.backend, backendNFTables, backendIPTables)
	case len(options[other]) > 0:
		return plugin.ConfigError("%s backend was requested but configuration contains %s-specific options %v", c.backend, other, options[other])
	}
	return nil
}

// languageOf tells the language of conditions: those of iptables begin with an option or with a negation.
func languageOf(conditions []string) string {
	switch {
	case len(conditions) == 0 || conditions[0] == "":
		return ""
	case strings.HasPrefix(conditions[0], "-"), strings.HasPrefix(conditions[0], "!"):
		return backendIPTables
	}
	return backendNFTables
}
