// SPDX-License-Identifier: Apache-2.0

package macvlan

import (
	"errors"
	"fmt"
	"net"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/vishvananda/netlink"

	"eastwest/internal/cni/attach"
	"eastwest/internal/cni/plugin"
	"eastwest/internal/kernel/link"
)

// kind is the kernel's name of such devices.
const kind = "macvlan"

// config holds the keys of the reference plugin.
type config struct {
	types.PluginConf
	Master          string `json:"master"`
	Mode            string `json:"mode"`
	MTU             int    `json:"mtu"`
	MAC             string `json:"mac"`
	LinkInContainer bool   `json:"linkInContainer"`
	BcQueueLen      uint32 `json:"bcqueuelen"`
	RuntimeConfig   struct {
		MAC string `json:"mac"`
	} `json:"runtimeConfig"`

	mode netlink.MacvlanMode
	mac  net.HardwareAddr
}

var modes = map[string]netlink.MacvlanMode{
	"bridge":   netlink.MACVLAN_MODE_BRIDGE,
	"private":  netlink.MACVLAN_MODE_PRIVATE,
	"vepa":     netlink.MACVLAN_MODE_VEPA,
	"passthru": netlink.MACVLAN_MODE_PASSTHRU,
}

func modeName(mode netlink.MacvlanMode) string {
	for name, m := range modes {
		if m == mode {
			return name
		}
	}
	return fmt.Sprintf("number %d", mode)
}

// decode reads a configuration without judging it. DEL and GC need no more: what ADD refused, or takes no longer, must not keep the
// container that came of it.
func decode(stdin []byte) (*config, error) {
	c := &config{}
	return c, plugin.Parse(stdin, c)
}

// parse reads and checks a configuration.
func parse(stdin []byte, cniArgs string) (*config, error) {
	c, err := decode(stdin)
	if err != nil {
		return nil, err
	}
	known := false
	if c.mode, known = modes[c.Mode]; c.Mode == "" {
		c.mode, known = netlink.MACVLAN_MODE_BRIDGE, true
	}
	if !known {
		return nil, plugin.ConfigError("unknown macvlan mode: %q", c.Mode)
	}
	c.mac, err = attach.RequestedMAC(cniArgs, c.RuntimeConfig.MAC, "", c.MAC)
	return c, err
}

// findMaster returns the interface to make devices on: the one named, or the one of the default route.
func (c *config) findMaster(h *link.Handle) (netlink.Link, error) {
	master, err := c.lookUpMaster(h)
	if err != nil {
		return nil, err
	}
	if most := master.Attrs().MTU; c.MTU < 0 || c.MTU > most {
		return nil, plugin.ConfigError("invalid MTU %d, must be [0, master MTU(%d)]", c.MTU, most)
	}
	return master, nil
}

func (c *config) lookUpMaster(h *link.Handle) (netlink.Link, error) {
	if c.Master != "" {
		master, err := h.LinkByName(c.Master)
		if link.IsNotFound(err) {
			return nil, plugin.ConfigError("failed to lookup master %q: there is no such interface", c.Master)
		}
		if err != nil {
			return nil, fmt.Errorf("look up master %s: %w", c.Master, err)
		}
		return master, nil
	}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := h.RouteList(nil, family)
		if err != nil {
			return nil, fmt.Errorf("look for a default route: %w", err)
		}
		for _, r := range routes {
			if ones := prefixLen(r.Dst); ones == 0 && r.LinkIndex > 0 {
				return h.LinkByIndex(r.LinkIndex)
			}
		}
	}
	return nil, errors.New("no default route interface found: name one as \"master\"")
}

func prefixLen(dst *net.IPNet) int {
	if dst == nil {
		return 0
	}
	ones, _ := dst.Mask.Size()
	return ones
}
