// SPDX-License-Identifier: Apache-2.0

package vxlan_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"eastwest/internal/kernel/netns/netnstest"
	kernel "eastwest/internal/kernel/vxlan"
	"eastwest/internal/reconcile"
	"eastwest/internal/table"
)

// Pods behind a router that knows nothing of them reach each other, whole and with their own addresses, in both families,
// whatever family the nodes have; so do nodes and the other's pods, although a strict reverse path filter is on.
func TestPacketsCrossARouter(t *testing.T) {
	for _, underlay := range [][2]string{{"192.0.2.11/24", "198.51.100.12/24"}, {"2001:db8:1::11/64", "2001:db8:2::12/64"}} {
		t.Run(underlay[0], func(t *testing.T) {
			a, b := routed(t, netip.MustParsePrefix(underlay[0]), netip.MustParsePrefix(underlay[1]))
			serve(t, b.pod)
			if _, err := ask(t.Context(), a.pod, b.podAddr(4), 1); err == nil {
				t.Fatal("the pods reach each other without the overlay: the test proves nothing")
			}
			a.apply(a, b)
			b.apply(a, b)
			for _, family := range []int{4, 6} {
				expect(t, a.pod, b.podAddr(family), a.podAddr(family), 1)
				expect(t, a.pod, b.podAddr(family), a.podAddr(family), 4<<20)
				expect(t, a.ns, b.podAddr(family), table.Gateway(a.tunnel.Pods[family/2-2]).String(), 1<<20)
			}
			// The largest packet that the pod's interface takes goes through in one piece, and one byte more does not.
			largest := 1450 - 28
			if strings.Contains(underlay[0], ":") {
				largest = 1430 - 28
			}
			a.inPod(fmt.Sprintf("ping -c 1 -W 2 -M do -s %d %s", largest, b.podAddr(4)))
		})
	}
}

// The device learns nothing, floods nothing, and what is encapsulated is not tracked.
func TestNothingIsLearnedFloodedOrTracked(t *testing.T) {
	a, b := routed(t, netip.MustParsePrefix("192.0.2.11/24"), netip.MustParsePrefix("198.51.100.12/24"))
	a.apply(a, b)
	b.apply(a, b)
	serve(t, b.pod)
	a.run("nft add table ip nat")
	a.run("nft add chain ip nat postrouting { type nat hook postrouting priority srcnat ; }")
	a.run("nft add rule ip nat postrouting oifname eth0 counter masquerade fully-random")
	a.run("nft add rule ip nat postrouting udp dport 4789 counter")
	before := runIn(t, a.ns, "ip -d neigh show") + runIn(t, a.ns, "bridge fdb show dev eastwest-vxlan")
	expect(t, a.pod, b.podAddr(4), a.podAddr(4), 1<<20)
	if strings.Contains(before, "00:00:00:00:00:00") || !strings.Contains(runIn(t, a.ns, "ip -d link show eastwest-vxlan"), "nolearning") {
		t.Errorf("the device floods or learns:\n%s", before)
	}
	if got := runIn(t, a.ns, "bridge fdb show dev eastwest-vxlan"); !strings.Contains(before, got) {
		t.Errorf("entries were learned:\n%s", got)
	}
	if rules := runIn(t, a.ns, "nft list table ip nat"); strings.Contains(rules, "packets 0 bytes 0 masquerade") == false {
		t.Errorf("encapsulated packets were translated:\n%s", rules)
	}
}

// A host that is no node of the cluster, and so no row, sends what a node would, and is not heard.
func TestStrangersAreNotHeard(t *testing.T) {
	a, b := routed(t, netip.MustParsePrefix("192.0.2.11/24"), netip.MustParsePrefix("198.51.100.12/24"))
	serve(t, b.pod)
	a.apply(a, b)
	b.apply(b)
	if _, err := ask(t.Context(), a.pod, b.podAddr(4), 1); err == nil {
		t.Error("a node without peers let packets in")
	}
	// A peer that is reached without the overlay is heard all the same.
	direct := *a
	direct.tunnel.Pods = nil
	b.apply(&direct, b)
	b.run("ip route add " + a.tunnel.Pods[0].String() + " via 198.51.100.1")
	if got := b.dump(); strings.Contains(got, "fdb") || !strings.Contains(got, "saddr != 192.0.2.11 drop") {
		t.Errorf("a peer without the overlay:\n%s", got)
	}
}

// Everything that others take away or change comes back by itself.
func TestWhatOthersBreakIsMended(t *testing.T) {
	a, b := routed(t, netip.MustParsePrefix("192.0.2.11/24"), netip.MustParsePrefix("198.51.100.12/24"))
	b.apply(a, b)
	serve(t, b.pod)
	loop := reconcile.NewLoop(reconcile.Config{Name: "tunnels", Log: slog.New(slog.DiscardHandler)}, a.backend)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{}, 2)
	go func() { _ = loop.Run(ctx); done <- struct{}{} }()
	go func() { _ = a.conn.Watch(ctx, loop.Resync); done <- struct{}{} }()
	defer func() { stop(); <-done; <-done }()
	loop.Offer(a.rows(a, b), table.Keys{All: true})
	<-loop.Ready()
	whole := a.dump()
	for _, vandalism := range []string{
		"ip route del 10.244.2.0/24", "ip -6 route del fd00:10:244:2::/64", "ip route replace 10.244.2.0/24 via 192.0.2.1",
		"ip neigh del 10.244.2.0 dev eastwest-vxlan", "ip neigh replace 10.244.2.0 lladdr 02:00:00:00:00:77 dev eastwest-vxlan nud permanent",
		"bridge fdb del 02:00:00:00:00:02 dev eastwest-vxlan", "bridge fdb append 00:00:00:00:00:00 dev eastwest-vxlan dst 192.0.2.1",
		"bridge fdb replace 02:00:00:00:00:02 dev eastwest-vxlan dst 192.0.2.1",
		"ip addr flush dev eastwest-vxlan", "ip link set eastwest-vxlan down", "ip link set eastwest-vxlan mtu 1300",
		"ip link set eastwest-vxlan address 02:00:00:00:00:99", "ip link del eastwest-vxlan",
	} {
		a.run(vandalism)
		eventually(t, "mended after "+vandalism, func() bool { return a.dump() == whole })
		expect(t, a.pod, b.podAddr(4), a.podAddr(4), 1)
	}
	// The MTU follows the network's.
	a.run("ip link set eth0 mtu 1400")
	eventually(t, "MTU 1350", func() bool { return strings.Contains(a.dump(), "mtu 1350") })
	a.run("ip link set eth0 mtu 1500")
	eventually(t, "MTU 1450", func() bool { return a.dump() == whole })
}

// A peer that changes its address, or is taken away and comes back, is followed; connections of the others go on.
func TestPeersMoveComeAndGo(t *testing.T) {
	a, b := routed(t, netip.MustParsePrefix("192.0.2.11/24"), netip.MustParsePrefix("198.51.100.12/24"))
	serve(t, b.pod)
	a.apply(a, b)
	b.apply(a, b)
	expect(t, a.pod, b.podAddr(4), a.podAddr(4), 1)
	b.run("ip addr del 198.51.100.12/24 dev eth0")
	b.run("ip addr add 198.51.100.99/24 dev eth0")
	b.run("ip route add default via 198.51.100.1")
	b.tunnel.Address = netip.MustParseAddr("198.51.100.99")
	a.apply(a, b)
	b.apply(a, b)
	expect(t, a.pod, b.podAddr(4), a.podAddr(4), 1)
	a.apply(a)
	if text := a.dump(); strings.Contains(text, "10.244.2") {
		t.Errorf("something is left of the peer:\n%s", text)
	}
	a.apply(a, b)
	expect(t, a.pod, b.podAddr(6), a.podAddr(6), 1)
}

// Remove leaves nothing, also when it is called again, when nothing is there, or when it was killed half-way.
func TestNothingIsLeftBehind(t *testing.T) {
	a, b := routed(t, netip.MustParsePrefix("192.0.2.11/24"), netip.MustParsePrefix("198.51.100.12/24"))
	before := state(t, a.ns)
	for _, halfway := range []string{"", "ip link del eastwest-vxlan", "nft delete table ip eastwest-overlay"} {
		a.apply(a, b)
		if halfway != "" {
			a.run(halfway)
		}
		for range 2 {
			if err := a.backend.Remove(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if after := state(t, a.ns); after != before {
			t.Errorf("after %q:\n%s\nbefore:\n%s", halfway, after, before)
		}
	}
	// A table without this node's own end is none.
	a.apply(a, b)
	a.apply(b)
	if after := state(t, a.ns); after != before {
		t.Errorf("without an own end:\n%s", after)
	}
}

func state(t *testing.T, ns string) string {
	return runIn(t, ns, "ip -br link") + runIn(t, ns, "ip route") + runIn(t, ns, "ip -6 route") + runIn(t, ns, "nft list ruleset")
}

// Without the node's address on any interface there is an error that says so, and no device.
func TestAnAddressThatIsNotHere(t *testing.T) {
	h := newHost(t, 1, netip.MustParseAddr("192.0.2.11"))
	err := h.backend.Apply(t.Context(), h.rows(h), table.Keys{All: true})
	if err == nil || !strings.Contains(err.Error(), "192.0.2.11") || !strings.Contains(err.Error(), "--node-ip") {
		t.Errorf("Apply = %v", err)
	}
	if list, err := kernel.New(netnstest.New(t)).List(t.Context()); err != nil || len(list) > 0 {
		t.Errorf("List in an empty namespace = %v, %v", list, err)
	}
}
