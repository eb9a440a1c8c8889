// SPDX-License-Identifier: Apache-2.0

package route_test

import (
	"net/netip"
	"os/exec"
	"testing"

	"eastwest/internal/kernel/netns"
	"eastwest/internal/kernel/netns/netnstest"
	"eastwest/internal/kernel/route"
)

// A node forwards what comes in by the links of its addresses, and nothing that comes in elsewhere.
func TestForwardByLinks(t *testing.T) {
	node, near, far, other := netnstest.New(t), netnstest.New(t), netnstest.New(t), netnstest.New(t)
	for i, link := range []struct{ name, ns, v4, v6 string }{
		{"near", near, "192.0.2.", "2001:db8:1::"}, {"far", far, "198.51.100.", "2001:db8:2::"}, {"other", other, "203.0.113.", "2001:db8:3::"},
	} {
		if i == 0 {
			run(t, node, "sysctl -qw net.ipv6.conf.default.accept_dad=0 net.ipv4.ip_forward=0") // which is inherited from the machine
		}
		run(t, node, "ip link add "+link.name+" type veth peer name eth0 netns "+link.ns)
		for _, end := range []struct{ ns, name, host string }{{node, link.name, "1"}, {link.ns, "eth0", "2"}} {
			run(t, end.ns, "ip addr add "+link.v4+end.host+"/24 dev "+end.name)
			run(t, end.ns, "ip addr add "+link.v6+end.host+"/64 dev "+end.name+" nodad")
			run(t, end.ns, "ip link set "+end.name+" up")
		}
		run(t, link.ns, "ip route add default via "+link.v4+"1")
		run(t, link.ns, "ip -6 route add default via "+link.v6+"1")
	}
	reaches := func(ns, address string) bool {
		return netns.Do(ns, func() error { return exec.Command("ping", "-c", "1", "-W", "1", address).Run() }) == nil
	}
	for range 2 {
		addresses := []netip.Addr{}
		for _, text := range []string{"192.0.2.1", "2001:db8:1::1", "198.51.100.1", "2001:db8:2::1"} {
			addresses = append(addresses, netip.MustParseAddr(text))
		}
		if err := route.New(node).Forward(t.Context(), addresses); err != nil {
			t.Fatal(err)
		}
	}
	for _, address := range []string{"198.51.100.2", "2001:db8:2::2"} {
		if !reaches(near, address) {
			t.Errorf("packets to %s that come in by a link of the node's address are not forwarded", address)
		}
	}
	if reaches(other, "198.51.100.2") {
		t.Error("packets that come in by another link are forwarded")
	}

	// Answers from everywhere else come in by the link of the default route.
	run(t, node, "ip route add default via 203.0.113.2")
	run(t, node, "ip -6 route add default via 2001:db8:3::2")
	addresses := []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8:1::1")}
	if err := route.New(node).Forward(t.Context(), addresses); err != nil {
		t.Fatal(err)
	}
	for _, address := range []string{"198.51.100.2", "2001:db8:2::2"} {
		if !reaches(other, address) {
			t.Errorf("packets to %s that come in by the link of the default route are not forwarded", address)
		}
	}
}
