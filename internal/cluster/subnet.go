// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"fmt"
	"net/netip"
	"slices"

	"eastwest/internal/kernel/hostnet"
)

// chooseNodeCIDR returns the first private range of the family's candidates that nothing uses.
func chooseNodeCIDR(one family, used []hostnet.Use) (netip.Prefix, error) {
	list := candidates()
	if one.ipv6 {
		list = candidates6()
	}
	for _, candidate := range list {
		if _, taken := overlap(candidate, used); !taken {
			return candidate, nil
		}
	}
	return netip.Prefix{}, fmt.Errorf("every private %s range that could be the node network is in use on this host: name one with --node-cidr", one.name)
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

// candidates6 are fd00:172:18::/64 to fd00:172:255::/64, which read like those of IPv4.
func candidates6() []netip.Prefix {
	var list []netip.Prefix
	for third := 18; third < 256; third++ {
		list = append(list, netip.MustParsePrefix(fmt.Sprintf("fd00:172:%d::/64", third)))
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

// checkRanges says which of a cluster's ranges of one family cannot be used, and why.
func checkRanges(one family, node, pod, service netip.Prefix, used []hostnet.Use) error {
	ranges := []rangeFlag{{"--node-cidr", "node", node}, {"--pod-cidr", "pod", pod}, {"--service-cidr", "service", service}}
	for i, r := range ranges {
		if !r.prefix.IsValid() || r.prefix != r.prefix.Masked() {
			return fmt.Errorf("%s range %s is no %s network (did you mean %s?): set it with %s", r.what, r.prefix, one.name, r.prefix.Masked(), r.flag)
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
	return checkSizes(one, node, pod, service)
}

// mostNodes is how many node ranges the server shares a pod range into, as a power of 2.
const mostNodes = 16

func checkSizes(one family, node, pod, service netip.Prefix) error {
	switch {
	case node.Bits() > one.nodeBits:
		return fmt.Errorf("node range %s is too small: it needs at least 8 addresses", node)
	case pod.Bits() > one.nodePods:
		return fmt.Errorf("pod range %s is too small: every node gets a /%d of it", pod, one.nodePods)
	case pod.Bits() < one.nodePods-mostNodes:
		return fmt.Errorf("pod range %s is too large: every node gets a /%d of it, so a /%d is enough for %d nodes", pod, one.nodePods, one.nodePods-mostNodes, 1<<mostNodes)
	case service.Bits() > one.serviceBits:
		return fmt.Errorf("service range %s is too small: it needs at least 32 addresses", service)
	}
	return nil
}

// nodes places the nodes on the networks: the first address of each is the host's, the nodes follow.
func nodes(cluster string, count int, families []family, networks, pods []netip.Prefix) ([]Node, error) {
	var next []netip.Addr
	for i, one := range families {
		if err := checkRoom(one, count, networks[i], pods[i]); err != nil {
			return nil, err
		}
		next = append(next, networks[i].Masked().Addr().Next())
	}
	list := make([]Node, 0, count)
	for i, name := range nodeNames(cluster, count) {
		for f := range next {
			next[f] = next[f].Next()
		}
		role := RoleWorker
		if i == 0 {
			role = RoleControlPlane
		}
		list = append(list, Node{Name: name, Role: role, Addresses: slices.Clone(next)})
	}
	return list, nil
}

// checkRoom counts the addresses but for the network's own, the host's and, in IPv4, the broadcast address.
func checkRoom(one family, count int, network, pod netip.Prefix) error {
	if free := network.Addr().BitLen() - network.Bits(); free < 16 && count > 1<<free-3 {
		return fmt.Errorf("node range %s has room for %d nodes, not %d: choose a larger one with --node-cidr", network, 1<<free-3, count)
	}
	if room := 1 << (one.nodePods - pod.Bits()); count > room {
		return fmt.Errorf("pod range %s has room for %d nodes with a /%d each, not %d: choose a larger one with --pod-cidr", pod, room, one.nodePods, count)
	}
	return nil
}
