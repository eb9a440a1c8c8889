// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"errors"
	"net"

	"github.com/containernetworking/cni/pkg/types"

	"eastwest/internal/cni/attach"
	"eastwest/internal/cni/forwarding"
	"eastwest/internal/cni/masquerade"
	"eastwest/internal/cni/plugin"
)

const defaultBridge = "cni0"

// config holds the keys of the reference plugin, and two more.
type config struct {
	types.PluginConf
	Bridge                    string  `json:"bridge"`
	IsGateway                 bool    `json:"isGateway"`
	IsDefaultGateway          bool    `json:"isDefaultGateway"`
	ForceAddress              bool    `json:"forceAddress"`
	IPMasq                    bool    `json:"ipMasq"`
	IPMasqBackend             string  `json:"ipMasqBackend"`
	MTU                       int     `json:"mtu"`
	HairpinMode               bool    `json:"hairpinMode"`
	PromiscMode               bool    `json:"promiscMode"`
	EnableDAD                 bool    `json:"enabledad"`
	DisableContainerInterface bool    `json:"disableContainerInterface"`
	PortIsolation             bool    `json:"portIsolation"`
	VLAN                      int     `json:"vlan"`
	VLANTrunk                 []trunk `json:"vlanTrunk"`
	PreserveDefaultVLAN       *bool   `json:"preserveDefaultVlan"`
	MacSpoofCheck             bool    `json:"macspoofchk"`
	IPSpoofCheck              bool    `json:"ipspoofchk"` // not one of the reference plugin, nor is the next

	Forwarding forwarding.Scope `json:"forwarding"`

	Args struct {
		CNI struct {
			MAC string `json:"mac"`
		} `json:"cni"`
	} `json:"args"`
	RuntimeConfig struct {
		MAC string `json:"mac"`
	} `json:"runtimeConfig"`

	mac    net.HardwareAddr
	trunks []vlans
}

// decode reads a configuration without judging it. DEL and GC need no more: what ADD refused, or takes no longer, must not keep the
// container that came of it.
func decode(stdin []byte) (*config, error) {
	c := &config{Bridge: defaultBridge}
	return c, plugin.Parse(stdin, c)
}

// parse reads and checks a configuration.
func parse(stdin []byte, cniArgs string) (*config, error) {
	c, err := decode(stdin)
	if err != nil {
		return nil, err
	}
	c.IsGateway = c.IsGateway || c.IsDefaultGateway
	switch {
	case c.HairpinMode && c.PromiscMode:
		return nil, plugin.ConfigError("cannot set hairpin mode and promiscuous mode at the same time")
	case c.DisableContainerInterface && c.IPAM.Type != "":
		return nil, plugin.ConfigError("cannot use IPAM when DisableContainerInterface flag is set")
	case c.IPSpoofCheck && c.IPAM.Type == "":
		return nil, plugin.ConfigError("ipspoofchk needs an IPAM plugin: without one the container has no address that it could send from")
	case c.MTU < 0:
		return nil, plugin.ConfigError("mtu %d is negative", c.MTU)
	}
	if err := c.checkVLANs(); err != nil {
		return nil, err
	}
	if c.mac, err = attach.RequestedMAC(cniArgs, c.RuntimeConfig.MAC, c.Args.CNI.MAC, ""); err != nil {
		return nil, err
	}
	return c, errors.Join(masquerade.CheckBackend(c.IPMasqBackend), forwarding.CheckScope(c.Forwarding))
}
