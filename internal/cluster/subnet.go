// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"fmt"
	"net/netip"

	"eastwest/internal/kernel/hostnet"
)

// chooseNodeCIDR returns the first private range of the list below that nothing uses.
func chooseNodeCIDR(used []hostnet.Use) (netip.Prefix, error) {
	for _, candidate := range candidates() {
		if _, taken := overlap(candidate, used); !taken {
			return candidate, nil
		}
	}
	return netip.Prefix{}, fmt.Errorf("every private address range that could be the node network is in use on this host: name one with --node-cidr")
}

// candidates are 172.18.0.0/16 to 172.31.0.0/16, then 192.168.0.0/20 upwards, then 10.0.0.0/16 upwards.
func candidates() []netip.Prefix {
	var list []netip.Prefix
	for second := 18; second < 32; second++ {
		list = append(list, netip.PrefixFrom(netip.AddrFrom4([4]byte{172, byte(second)}), 16))
	}
	for third := 0; third < 256; third += 16 {
		list = append(list, netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 168, byte(third)}), 20))
	}
	for second := range 256 {
		list = append(list, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(second)}), 16))
	}
	return list
}

// overlap finds a use of the range.
func overlap(candidate netip.Prefix, used []hostnet.Use) (hostnet.Use, bool) {
	for _, use := range used {
		if use.Range.Overlaps(candidate) {
			return use, true
		}
	}
	return hostnet.Use{}, false
}

// rangeFlag is a range with the flag that sets it.
type rangeFlag struct {
	flag   string
	what   string
	prefix netip.Prefix
}

// checkRanges says which of a cluster's ranges cannot be used, and why.
func checkRanges(node, pod, service netip.Prefix, used []hostnet.Use) error {
	ranges := []rangeFlag{{"--node-cidr", "node", node}, {"--pod-cidr", "pod", pod}, {"--service-cidr", "service", service}}
	for i, r := range ranges {
		if !r.prefix.IsValid() || !r.prefix.Addr().Is4() || r.prefix != r.prefix.Masked() {
			return fmt.Errorf("%s range %s is no IPv4 network (did you mean %s?): set it with %s", r.what, r.prefix, r.prefix.Masked(), r.flag)
		}
		for _, other := range ranges[:i] {
			if r.prefix.Overlaps(other.prefix) {
				return fmt.Errorf("%s range %s and %s range %s overlap: choose another with %s", r.what, r.prefix, other.what, other.prefix, r.flag)
			}
		}
		if use, taken := overlap(r.prefix, used); taken {
			return fmt.Errorf("%s range %s is taken on this host: %s is in use (%s): choose another with %s", r.what, r.prefix, use.Range, use.By, r.flag)
		}
	}
	return checkSizes(node, pod, service)
}

func checkSizes(node, pod, service netip.Prefix) error {
	if node.Bits() > 29 {
		return fmt.Errorf("node range %s is too small: it needs at least 8 addresses", node)
	}
	if pod.Bits() > 24 {
		return fmt.Errorf("pod range %s is too small: every node gets a /24 of it", pod)
	}
	if service.Bits() > 27 {
		return fmt.Errorf("service range %s is too small: it needs at least 32 addresses", service)
	}
	return nil
}

// nodes places the nodes on the network: the first address is the host's, the nodes follow.
func nodes(cluster string, count int, network netip.Prefix, pod netip.Prefix) ([]Node, error) {
	if room := 1<<(32-network.Bits()) - 3; count > room {
		return nil, fmt.Errorf("node range %s has room for %d nodes, not %d: choose a larger one with --node-cidr", network, room, count)
	}
	if room := 1 << (24 - pod.Bits()); count > room {
		return nil, fmt.Errorf("pod range %s has room for %d nodes with a /24 each, not %d: choose a larger one with --pod-cidr", pod, room, count)
	}
	address := network.Masked().Addr().Next()
	list := make([]Node, 0, count)
	for i, name := range nodeNames(cluster, count) {
		address = address.Next()
		role := RoleWorker
		if i == 0 {
			role = RoleControlPlane
		}
		list = append(list, Node{Name: name, Role: role, Address: address})
	}
	return list, nil
}
