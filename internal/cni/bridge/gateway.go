// SPDX-License-Identifier: Apache-2.0

package bridge

import (
	"net"
	"net/netip"

	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"

	"eastwest/internal/cni/attach"
)

// gateways fills in the gateways and default routes that the configuration asks for, and returns the addresses that
// the bridge has as the gateway. The container's interface is the third of the result.
func gateways(c *config, result *current.Result) []net.IPNet {
	var own []net.IPNet
	routed := map[bool]bool{}
	for _, ip := range result.IPs {
		ip.Interface = current.Int(2)
		if !c.IsGateway {
			continue
		}
		if ip.Gateway == nil {
			ip.Gateway = firstOf(ip.Address)
		}
		own = append(own, net.IPNet{IP: ip.Gateway, Mask: ip.Address.Mask})
		v4 := attach.IsV4(ip.Address.IP)
		if c.IsDefaultGateway && !routed[v4] {
			addDefault(result, v4, ip.Gateway)
			routed[v4] = true
		}
	}
	return own
}

// addDefault adds a default route unless the result has one through a gateway.
func addDefault(result *current.Result, v4 bool, gateway net.IP) {
	dst := net.IPNet{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)}
	if v4 {
		dst = net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}
	}
	for _, r := range result.Routes {
		ones, _ := r.Dst.Mask.Size()
		if ones == 0 && attach.IsV4(r.Dst.IP) == v4 && r.GW != nil {
			return
		}
	}
	result.Routes = append(result.Routes, &types.Route{Dst: dst, GW: gateway})
}

// firstOf is the first address of a subnet behind the network's own.
func firstOf(n net.IPNet) net.IP {
	a, _ := netip.AddrFromSlice(n.IP.Mask(n.Mask))
	return a.Unmap().Next().AsSlice()
}
