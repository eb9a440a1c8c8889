// SPDX-License-Identifier: Apache-2.0

package portmap

import (
	"cmp"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"golang.org/x/sys/unix"

	"eastwest/internal/cni/plugin"
)

// config holds the keys of the reference plugin.
type config struct {
	types.PluginConf
	Backend              *string  `json:"backend"`
	SNAT                 *bool    `json:"snat"`
	ConditionsV4         []string `json:"conditionsV4"`
	ConditionsV6         []string `json:"conditionsV6"`
	MasqAll              bool     `json:"masqAll"`
	MarkMasqBit          *int     `json:"markMasqBit"`
	ExternalSetMarkChain *string  `json:"externalSetMarkChain"`
	RuntimeConfig        struct {
		PortMaps []portMapping `json:"portMappings"`
	} `json:"runtimeConfig"`

	backend  string
	mappings []mapping
}

// portMapping is an entry of the capability portMappings.
type portMapping struct {
	HostPort      int    `json:"hostPort"`
	ContainerPort int    `json:"containerPort"`
	Protocol      string `json:"protocol"`
	HostIP        string `json:"hostIP"`
}

// mapping is a checked portMapping. The zero hostIP stands for all addresses of both families, an unspecified one
// (0.0.0.0, ::) for all of its family.
type mapping struct {
	proto                   byte
	hostIP                  netip.Addr
	hostPort, containerPort uint16
}

const defaultMarkBit = 13

// parse reads and checks a configuration.
func parse(stdin []byte) (*config, error) {
	c, wrong, err := decode(stdin)
	if err = cmp.Or(err, wrong); err != nil {
		return nil, err
	}
	return c, nil
}

// decode reads a configuration and says what is wrong with it. To DEL and GC that does not matter: what ADD refused, or takes no
// longer, must not keep the container that came of it.
func decode(stdin []byte) (c *config, wrong, err error) {
	c = &config{}
	if err := plugin.Parse(stdin, c); err != nil {
		return nil, nil, err
	}
	if c.MarkMasqBit != nil && c.ExternalSetMarkChain != nil {
		wrong = plugin.ConfigError("Cannot specify externalSetMarkChain and markMasqBit")
	}
	if bit := c.markBit(); bit < 0 || bit > 31 {
		wrong = cmp.Or(wrong, plugin.ConfigError("MasqMarkBit must be between 0 and 31"))
	}
	wrong = cmp.Or(wrong, c.chooseBackend())
	for _, p := range c.RuntimeConfig.PortMaps {
		m, err := checkMapping(p)
		if err != nil {
			wrong = cmp.Or(wrong, err)
			continue
		}
		c.mappings = append(c.mappings, m)
	}
	return c, wrong, nil
}

func (c *config) markBit() int {
	if c.MarkMasqBit == nil {
		return defaultMarkBit
	}
	return *c.MarkMasqBit
}

func (c *config) snat() bool { return c.SNAT == nil || *c.SNAT }

func checkMapping(p portMapping) (mapping, error) {
	m := mapping{hostPort: uint16(p.HostPort), containerPort: uint16(p.ContainerPort)}
	if p.ContainerPort <= 0 || p.ContainerPort > 65535 {
		return m, plugin.ConfigError("Invalid container port number: %d", p.ContainerPort)
	}
	if p.HostPort <= 0 || p.HostPort > 65535 {
		return m, plugin.ConfigError("Invalid host port number: %d", p.HostPort)
	}
	switch strings.ToLower(p.Protocol) {
	case "tcp", "":
		m.proto = unix.IPPROTO_TCP
	case "udp":
		m.proto = unix.IPPROTO_UDP
	case "sctp":
		m.proto = unix.IPPROTO_SCTP
	default:
		return m, plugin.ConfigError("unknown protocol %q of host port %d: it must be tcp, udp or sctp", p.Protocol, p.HostPort)
	}
	if p.HostIP != "" {
		ip, err := netip.ParseAddr(p.HostIP)
		if err != nil {
			return m, plugin.ConfigError("invalid hostIP %q of host port %d", p.HostIP, p.HostPort)
		}
		m.hostIP = ip.Unmap()
	}
	return m, nil
}

// datagrams reports whether a mapping is of UDP, whose flows outlive what they were mapped by.
func (c *config) datagrams() bool {
	return slices.ContainsFunc(c.mappings, func(m mapping) bool { return m.proto == unix.IPPROTO_UDP })
}

// of returns the mappings that concern an address's family.
func (c *config) of(addr netip.Addr) []mapping {
	return slices.DeleteFunc(slices.Clone(c.mappings), func(m mapping) bool {
		return m.hostIP.IsValid() && m.hostIP.Is4() != addr.Is4()
	})
}

// everything is the configuration with everything on, which puts all into the sets that there can be.
func (c *config) everything() *config {
	all := *c
	all.SNAT, all.MasqAll = nil, true
	return &all
}

// containerAddrs returns the first address of each family that the result gives the container's interface.
func containerAddrs(result *current.Result, ifName string) []netip.Prefix {
	var v4, v6 netip.Prefix
	for _, ip := range result.IPs {
		if !insideContainer(result, ip, ifName) {
			continue
		}
		ones, _ := ip.Address.Mask.Size()
		a := netip.PrefixFrom(addrOf(ip.Address.IP), ones)
		switch {
		case a.Addr().Is4() && !v4.IsValid():
			v4 = a
		case a.Addr().Is6() && !v6.IsValid():
			v6 = a
		}
	}
	return slices.DeleteFunc([]netip.Prefix{v4, v6}, func(p netip.Prefix) bool { return !p.IsValid() })
}

// insideContainer excludes addresses of other interfaces; without an index an address counts as the container's.
func insideContainer(result *current.Result, ip *current.IPConfig, ifName string) bool {
	if ip.Interface == nil || *ip.Interface < 0 || *ip.Interface >= len(result.Interfaces) {
		return true
	}
	i := result.Interfaces[*ip.Interface]
	return i.Name == ifName && i.Sandbox != ""
}

func addrOf(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}
