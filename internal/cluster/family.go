// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"fmt"
	"net/netip"
	"slices"
)

// IPFamily says which IP families a cluster has.
type IPFamily string

// The choices of --ip-family. With IPDual, IPv4 is the primary one, and with IPDual6 IPv6 is.
const (
	IPv4    IPFamily = "ipv4"
	IPv6    IPFamily = "ipv6"
	IPDual  IPFamily = "dual"
	IPDual6 IPFamily = "dual-ipv6"
)

// Families are the choices.
func Families() []string {
	return []string{string(IPv4), string(IPv6), string(IPDual), string(IPDual6)}
}

// family is what the plan of a cluster needs to know of one IP family.
type family struct {
	name        string
	ipv6        bool
	pods        netip.Prefix // default ranges
	services    netip.Prefix
	nodePods    int // length of one node's pod range
	nodeBits    int // longest length of a node range, 8 addresses
	serviceBits int // longest length of a service range, 32 addresses
}

func ipv4() family {
	return family{
		name: "IPv4", pods: netip.MustParsePrefix("10.244.0.0/16"), services: netip.MustParsePrefix("10.96.0.0/12"),
		nodePods: 24, nodeBits: 29, serviceBits: 27,
	}
}

func ipv6() family {
	return family{
		name: "IPv6", ipv6: true, pods: netip.MustParsePrefix("fd00:10:244::/56"), services: netip.MustParsePrefix("fd00:10:96::/112"),
		nodePods: 64, nodeBits: 125, serviceBits: 123,
	}
}

// families lists them, the primary first; none for what is no choice.
func (f IPFamily) families() []family {
	switch f {
	case IPv4, "":
		return []family{ipv4()}
	case IPv6:
		return []family{ipv6()}
	case IPDual:
		return []family{ipv4(), ipv6()}
	case IPDual6:
		return []family{ipv6(), ipv4()}
	}
	return nil
}

// rangesOf returns the ranges that a person gave with a flag, one a family in their order, or the defaults.
func (f IPFamily) rangesOf(flag string, given []netip.Prefix, standard func(family) netip.Prefix) ([]netip.Prefix, error) {
	families := f.families()
	if len(given) == 0 {
		for _, one := range families {
			given = append(given, standard(one))
		}
		return given, nil
	}
	fits := slices.EqualFunc(given, families, func(r netip.Prefix, one family) bool { return r.Addr().Is6() == one.ipv6 })
	if !fits {
		wanted := families[0].name + " range"
		if len(families) > 1 {
			wanted = families[0].name + " range and an " + families[1].name + " range"
		}
		return nil, fmt.Errorf("%s %v: --ip-family %s needs an %s", flag, given, f, wanted)
	}
	return given, nil
}
