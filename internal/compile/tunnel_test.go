// SPDX-License-Identifier: Apache-2.0

package compile_test

import (
	"net/netip"
	"strings"
	"testing"

	"eastwest/internal/compile"
	"eastwest/internal/snapshot"
	"eastwest/internal/table"
)

// hosts are a node, one on its network, one behind a router, and one that has no address yet.
func hosts(onLink ...string) snapshot.Snapshot {
	s := snapshot.NewStore()
	node := func(name string, address, pods string) {
		n := &snapshot.Node{Name: name}
		for text := range strings.FieldsSeq(address) {
			n.Addrs = append(n.Addrs, netip.MustParseAddr(text))
		}
		for text := range strings.FieldsSeq(pods) {
			n.PodCIDRs = append(n.PodCIDRs, netip.MustParsePrefix(text))
		}
		s.PutNode(n)
	}
	node("here", "192.0.2.1 2001:db8::1", "10.244.0.0/24 fd00:10:244::/64")
	node("near", "192.0.2.2 2001:db8::2", "10.244.1.0/24 fd00:10:244:1::/64")
	node("far", "198.51.100.3 2001:db8:3::3", "10.244.2.0/24 fd00:10:244:2::/64")
	node("new", "", "10.244.3.0/24")
	var networks []netip.Prefix
	for _, text := range onLink {
		networks = append(networks, netip.MustParsePrefix(text))
	}
	s.SetOnLink(networks)
	now, _ := s.Take()
	return now
}

func config(overlay compile.Overlay, node string, ips ...string) compile.Config {
	c := compile.Config{NodeName: node, Overlay: overlay, ClusterCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")}}
	for _, ip := range ips {
		c.NodeIPs = append(c.NodeIPs, netip.MustParseAddr(ip))
	}
	return c
}

// ways says how each node's pods are reached: direct, tunnel over which address, or not at all.
func ways(now snapshot.Snapshot, c compile.Config) map[string]string {
	out := map[string]string{}
	for key, row := range compile.Routes(now, c) {
		out[row.Object.Name] += " direct " + key[:strings.Index(key, "/")]
	}
	for name, row := range compile.Tunnels(now, c) {
		switch {
		case row.Self:
			out[name] += " self " + row.Address.String()
		case len(row.Pods) == 0:
			out[name] += " accepted"
		default:
			out[name] += " tunnel " + row.Address.String()
		}
	}
	return out
}

func TestOverlayDecidesPerPeer(t *testing.T) {
	tests := []struct {
		name    string
		overlay compile.Overlay
		ip      string
		onLink  []string
		want    map[string][]string // substrings; nil for not at all
	}{
		{"none", compile.OverlayNone, "192.0.2.1", nil, map[string][]string{"here": nil, "near": {"direct 10.244.1.0", "direct fd00:10:244:1::"}, "far": {"direct 10.244.2.0"}}},
		{"zero value is none", "", "192.0.2.1", nil, map[string][]string{"here": nil, "near": {"direct"}, "far": {"direct"}}},
		{"vxlan", compile.OverlayVXLAN, "192.0.2.1", nil, map[string][]string{"here": {"self 192.0.2.1"}, "near": {"tunnel 192.0.2.2"}, "far": {"tunnel 198.51.100.3"}, "new": nil}},
		{"vxlan over IPv6", compile.OverlayVXLAN, "2001:db8::1", nil, map[string][]string{"here": {"self 2001:db8::1"}, "near": {"tunnel 2001:db8::2"}, "far": {"tunnel 2001:db8:3::3"}}},
		{"auto", compile.OverlayAuto, "192.0.2.1", []string{"192.0.2.0/24"}, map[string][]string{"here": {"self"}, "near": {"direct 10.244.1.0", "accepted"}, "far": {"tunnel 198.51.100.3"}}},
		{"auto, all on link", compile.OverlayAuto, "192.0.2.1", []string{"192.0.2.0/24", "198.51.100.0/24"}, map[string][]string{"near": {"direct", "accepted"}, "far": {"direct", "accepted"}}},
		{"auto, nothing known", compile.OverlayAuto, "192.0.2.1", nil, map[string][]string{"near": {"tunnel"}, "far": {"tunnel"}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := ways(hosts(test.onLink...), config(test.overlay, "here", test.ip))
			for node, parts := range test.want {
				if parts == nil && got[node] != "" {
					t.Errorf("%s: %q, want nothing", node, got[node])
				}
				for _, part := range parts {
					if !strings.Contains(got[node], part) {
						t.Errorf("%s: %q, want %q in it", node, got[node], part)
					}
				}
			}
		})
	}
}

// Both ends compute the same hardware address for an end, whatever else they know of its node.
func TestEndsAgree(t *testing.T) {
	here := compile.Tunnels(hosts(), config(compile.OverlayVXLAN, "here", "192.0.2.1"))
	far := compile.Tunnels(hosts(), config(compile.OverlayVXLAN, "far", "198.51.100.3"))
	seen := map[table.MAC]string{}
	for _, name := range []string{"here", "near", "far"} {
		mac := here[name].MAC
		if mac != far[name].MAC {
			t.Errorf("%s: %s here, %s there", name, mac, far[name].MAC)
		}
		if mac[0]&3 != 2 {
			t.Errorf("%s: %s is not a local unicast address", name, mac)
		}
		if other := seen[mac]; other != "" {
			t.Errorf("%s and %s share %s", name, other, mac)
		}
		seen[mac] = name
	}
}

// Before it has a pod CIDR, and when it is gone, this node has no end.
func TestNoEndWithoutPods(t *testing.T) {
	if rows := compile.Tunnels(hosts(), config(compile.OverlayVXLAN, "elsewhere", "192.0.2.9")); len(rows) > 0 {
		t.Errorf("rows for an unknown node: %v", rows)
	}
	if rows := compile.Tunnels(hosts(), config(compile.OverlayVXLAN, "here")); len(rows) > 0 {
		t.Errorf("rows without an address: %v", rows)
	}
}

// What goes to a node behind the overlay gets this node's address; pods, and nodes on the link, see the pod's own.
func TestEgressToNodesBehindTheOverlay(t *testing.T) {
	inside := func(overlay compile.Overlay, address string) bool {
		row := compile.Egress(hosts("192.0.2.0/24"), config(overlay, "here", "192.0.2.1"))["here"]
		for _, p := range row.Inside {
			if p.Contains(netip.MustParseAddr(address)) {
				return true
			}
		}
		return false
	}
	for _, test := range []struct {
		overlay compile.Overlay
		address string
		want    bool
	}{
		{compile.OverlayNone, "192.0.2.2", true}, {compile.OverlayNone, "198.51.100.3", true},
		{compile.OverlayVXLAN, "192.0.2.1", true}, {compile.OverlayVXLAN, "192.0.2.2", false}, {compile.OverlayVXLAN, "10.244.1.7", true},
		{compile.OverlayAuto, "192.0.2.2", true}, {compile.OverlayAuto, "198.51.100.3", false}, {compile.OverlayAuto, "10.244.2.7", true},
	} {
		if got := inside(test.overlay, test.address); got != test.want {
			t.Errorf("overlay %s: %s keeps the pod's address = %v, want %v", test.overlay, test.address, got, test.want)
		}
	}
}
