// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"

	"eastwest/internal/kernel/conntrack"
)

// socketAddress is where health check ports are open.
type socketAddress struct{ network, host string }

// checkAddresses returns the addresses of a node that answer health checks: those that serve node ports. Every address of a
// family is one socket, which also has the addresses that come later.
func checkAddresses(nodePorts []netip.Prefix, own []netip.Addr) []socketAddress {
	every := func(ipv6 bool) bool {
		return slices.ContainsFunc(nodePorts, func(p netip.Prefix) bool { return p.Bits() == 0 && p.Addr().Is6() == ipv6 })
	}
	if len(nodePorts) == 0 || every(false) && every(true) {
		return []socketAddress{{"tcp", ""}}
	}
	var out []socketAddress
	for _, ipv6 := range []bool{false, true} {
		network, any := "tcp4", "0.0.0.0"
		if ipv6 {
			network, any = "tcp6", "::"
		}
		if every(ipv6) {
			out = append(out, socketAddress{network, any})
			continue
		}
		for _, addr := range own {
			// Of a link-local address the link would have to be known, too, and no load balancer asks there.
			if addr.Is6() != ipv6 || ipv6 && addr.IsLinkLocalUnicast() {
				continue
			}
			if slices.ContainsFunc(nodePorts, func(p netip.Prefix) bool { return p.Contains(addr) }) {
				out = append(out, socketAddress{network, addr.String()})
			}
		}
	}
	return out
}

// listenAtNodePort listens at a port of every address that serves node ports.
func (n *Network) listenAtNodePort(port uint16) ([]net.Listener, error) {
	own, err := conntrack.New(n.config.Netns).Addresses(context.Background())
	if err != nil {
		return nil, err
	}
	var out []net.Listener
	err = inNetns(n.config.Netns, func() error {
		for _, at := range checkAddresses(n.config.NodePortAddresses, slices.SortedFunc(maps.Keys(own), netip.Addr.Compare)) {
			listener, err := net.Listen(at.network, net.JoinHostPort(at.host, strconv.Itoa(int(port))))
			if err != nil {
				return err
			}
			out = append(out, listener)
		}
		return nil
	})
	if err != nil {
		for _, listener := range out {
			listener.Close()
		}
		return nil, err
	}
	return out, nil
}
