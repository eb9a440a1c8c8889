// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"eastwest/internal/kernel/hostnet"
)

func uses(ranges ...string) []hostnet.Use {
	var list []hostnet.Use
	for _, r := range ranges {
		list = append(list, hostnet.Use{Range: netip.MustParsePrefix(r), By: "route by tun0"})
	}
	return list
}

func TestChooseNodeCIDR(t *testing.T) {
	for _, test := range []struct {
		used []hostnet.Use
		want string
	}{
		{nil, "172.18.0.0/16"},
		{uses("192.0.2.0/24"), "172.18.0.0/16"},
		{uses("172.18.0.0/16"), "172.19.0.0/16"},
		{uses("172.18.5.1/32", "172.19.0.0/17"), "172.20.0.0/16"},
		{uses("172.16.0.0/12"), "192.168.0.0/20"},
		{uses("172.16.0.0/12", "192.168.1.0/24"), "192.168.16.0/20"},
		{uses("172.16.0.0/12", "192.168.0.0/16"), "10.0.0.0/16"},
		{uses("0.0.0.0/1", "128.0.0.0/1"), ""},
	} {
		got, err := chooseNodeCIDR(test.used)
		if (err != nil) != (test.want == "") || test.want != "" && got.String() != test.want {
			t.Errorf("with %v: %v, %v; want %s", test.used, got, err, test.want)
		}
	}
}

func TestChosenRangeIsFree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var used []hostnet.Use
		for range rapid.IntRange(0, 40).Draw(t, "count") {
			address := netip.AddrFrom4([4]byte{
				rapid.SampledFrom([]byte{10, 172, 192}).Draw(t, "first"), rapid.Byte().Draw(t, "second"), rapid.Byte().Draw(t, "third"), 0})
			used = append(used, hostnet.Use{Range: netip.PrefixFrom(address, rapid.IntRange(8, 32).Draw(t, "bits")).Masked()})
		}
		chosen, err := chooseNodeCIDR(used)
		if err != nil {
			return
		}
		if use, taken := overlap(chosen, used); taken || !chosen.Addr().IsPrivate() {
			t.Fatalf("chose %s, which is used by %s", chosen, use.Range)
		}
	})
}

func TestCheckRanges(t *testing.T) {
	const node, pod, service = "172.18.0.0/16", "10.244.0.0/16", "10.96.0.0/12"
	for _, test := range []struct {
		name, node, pod, service string
		used                     []hostnet.Use
		complaint                []string
	}{
		{"good", node, pod, service, uses("192.0.2.0/24"), nil},
		{"route in services", node, pod, service, uses("10.100.0.0/16"), []string{"10.96.0.0/12", "tun0", "--service-cidr"}},
		{"pods in services", node, "10.97.0.0/16", service, nil, []string{"overlap", "--service-cidr"}},
		{"node range taken", node, pod, service, uses("172.18.4.0/24"), []string{"172.18.4.0/24", "--node-cidr"}},
		{"host bits", "172.18.0.1/16", pod, service, nil, []string{"172.18.0.0/16"}},
		{"too small", "172.18.0.0/30", pod, service, nil, []string{"too small"}},
	} {
		err := checkRanges(netip.MustParsePrefix(test.node), netip.MustParsePrefix(test.pod), netip.MustParsePrefix(test.service), test.used)
		if (err != nil) != (test.complaint != nil) {
			t.Errorf("%s: error %v", test.name, err)
			continue
		}
		for _, part := range test.complaint {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: error %q does not say %q", test.name, err, part)
			}
		}
	}
}

func TestNodesAreNamedAsKindNamesThem(t *testing.T) {
	list, err := nodes("dev", 4, netip.MustParsePrefix("172.18.0.0/16"), netip.MustParsePrefix("10.244.0.0/16"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, n := range list {
		got = append(got, n.Name+" "+n.Role+" "+n.Address.String())
	}
	want := []string{
		"dev-control-plane control-plane 172.18.0.2", "dev-worker worker 172.18.0.3",
		"dev-worker2 worker 172.18.0.4", "dev-worker3 worker 172.18.0.5",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, err := nodes("dev", 14, netip.MustParsePrefix("172.18.0.0/28"), netip.MustParsePrefix("10.244.0.0/16")); err == nil {
		t.Error("14 nodes fit into a /28")
	}
	if _, err := nodes("dev", 3, netip.MustParsePrefix("172.18.0.0/16"), netip.MustParsePrefix("10.244.0.0/23")); err == nil {
		t.Error("3 nodes got a /24 each of a /23")
	}
}

func TestCheckName(t *testing.T) {
	for name, good := range map[string]bool{
		"a": true, "eastwest": true, "a-1": true, "": false, "-a": false, "a-": false, "A": false, "a.b": false, "a/b": false,
		"..": false, strings.Repeat("a", 40): true, strings.Repeat("a", 41): false,
	} {
		if err := CheckName(name); (err == nil) != good {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestNodeResolvConf(t *testing.T) {
	gateway := netip.MustParseAddr("172.18.0.1")
	for _, test := range []struct {
		name, host, want string
		relay            bool
	}{
		{"plain", "# x\nnameserver 192.0.2.53\nsearch lan\n", "nameserver 192.0.2.53\nsearch lan\n", false},
		{"systemd-resolved", "nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch .\n", "nameserver 172.18.0.1\noptions edns0 trust-ad\nsearch .\n", true},
		{"IPv6 loopback", "nameserver ::1\n", "nameserver 172.18.0.1\n", true},
		{"mixed", "nameserver 127.0.0.1\nnameserver 192.0.2.53\n", "nameserver 192.0.2.53\n", false},
		{"none", "", "", false},
	} {
		got, relay := nodeResolvConf(test.host, gateway)
		if got != test.want || relay != test.relay {
			t.Errorf("%s: %q, relay %v", test.name, got, relay)
		}
	}
}

func TestRecordKnowsItsAddresses(t *testing.T) {
	r := Record{
		Name: "dev", NodeCIDR: netip.MustParsePrefix("172.18.0.0/16"), ServiceCIDR: netip.MustParsePrefix("10.96.0.0/12"), APIPort: 6443,
		Nodes: []Node{{Name: "dev-control-plane", Address: netip.MustParseAddr("172.18.0.2")}, {Name: "dev-worker"}},
	}
	if r.Gateway().String() != "172.18.0.1" || r.DNS().String() != "10.96.0.10" || r.Server() != "https://172.18.0.2:6443" {
		t.Errorf("gateway %s, DNS %s, server %s", r.Gateway(), r.DNS(), r.Server())
	}
	for name, want := range map[string]string{"worker": "dev-worker", "dev-worker": "dev-worker", "worker9": ""} {
		if node, err := r.Node(name); node.Name != want || (err == nil) != (want != "") {
			t.Errorf("%s: %v, %v", name, node.Name, err)
		}
	}
}
