// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"encoding/json"

	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/version"
)

// Parse decodes a plugin's configuration from stdin into conf, a pointer to a struct that embeds types.PluginConf.
func Parse(stdin []byte, conf any) error {
	if err := json.Unmarshal(stdin, conf); err != nil {
		return DecodeError("network configuration", err)
	}
	return nil
}

// PrevResult returns the result of the plugin before in the chain, in the current version, or nil if there is none.
func PrevResult(conf *types.PluginConf) (*current.Result, error) {
	if conf.RawPrevResult == nil {
		return nil, nil
	}
	if err := version.ParsePrevResult(conf); err != nil {
		return nil, DecodeError("prevResult", err)
	}
	result, err := current.NewResultFromResult(conf.PrevResult)
	if err != nil {
		return nil, DecodeError("prevResult", err)
	}
	return result, nil
}

// NeedPrevResult is PrevResult for plugins that work on what another plugin made.
func NeedPrevResult(conf *types.PluginConf) (*current.Result, error) {
	result, err := PrevResult(conf)
	if err == nil && result == nil {
		err = ConfigError("required prevResult missing: %s must be called as a chained plugin, after one that makes an interface", conf.Type)
	}
	return result, err
}

// HasDNS reports whether a configuration says anything of DNS; an empty list says that there is none.
func HasDNS(d types.DNS) bool {
	return d.Nameservers != nil || d.Search != nil || d.Options != nil || d.Domain != ""
}
