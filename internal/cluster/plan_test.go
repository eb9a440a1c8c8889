// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"fmt"
	"net/netip"
	"slices"
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
		family family
		used   []hostnet.Use
		want   string
	}{
		{ipv4(), nil, "172.18.0.0/16"},
		{ipv4(), uses("192.0.2.0/24"), "172.18.0.0/16"},
		{ipv4(), uses("172.18.0.0/16"), "172.19.0.0/16"},
		{ipv4(), uses("172.18.5.1/32", "172.19.0.0/17"), "172.20.0.0/16"},
		{ipv4(), uses("172.16.0.0/12"), "192.168.0.0/20"},
		{ipv4(), uses("172.16.0.0/12", "192.168.1.0/24"), "192.168.16.0/20"},
		{ipv4(), uses("172.16.0.0/12", "192.168.0.0/16"), "10.0.0.0/16"},
		{ipv4(), uses("0.0.0.0/1", "128.0.0.0/1"), ""},
		{ipv6(), uses("172.18.0.0/16"), "fd00:172:18::/64"},
		{ipv6(), uses("fd00::/64", "fd00:172:18::/63"), "fd00:172:19::/64"},
		{ipv6(), uses("fd00::/8"), ""},
	} {
		got, err := chooseNodeCIDR(test.family, test.used)
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
		chosen, err := chooseNodeCIDR(ipv4(), used)
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
	const node6, pod6, service6 = "fd00:172:18::/64", "fd00:10:244::/56", "fd00:10:96::/112"
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
		{"good IPv6", node6, pod6, service6, uses("fd00::/64"), nil},
		{"IPv6 pods too small", node6, "fd00:10:244::/65", service6, nil, []string{"too small", "/64"}},
		{"IPv6 pods too large", node6, "fd01::/40", service6, nil, []string{"too large", "/48"}},
	} {
		one := ipv4()
		if strings.Contains(test.pod, ":") {
			one = ipv6()
		}
		err := checkRanges(one, netip.MustParsePrefix(test.node), netip.MustParsePrefix(test.pod), netip.MustParsePrefix(test.service), test.used)
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
	place := func(count int, f IPFamily, networks, pods string) ([]Node, error) {
		return nodes("dev", count, f.families(), prefixes(networks), prefixes(pods))
	}
	list, err := place(4, IPDual, "172.18.0.0/16 fd00:172:18::/64", "10.244.0.0/16 fd00:10:244::/56")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, n := range list {
		got = append(got, fmt.Sprint(n.Name, " ", n.Role, " ", n.Addresses))
	}
	want := []string{
		"dev-control-plane control-plane [172.18.0.2 fd00:172:18::2]", "dev-worker worker [172.18.0.3 fd00:172:18::3]",
		"dev-worker2 worker [172.18.0.4 fd00:172:18::4]", "dev-worker3 worker [172.18.0.5 fd00:172:18::5]",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, err := place(14, IPv4, "172.18.0.0/28", "10.244.0.0/16"); err == nil {
		t.Error("14 nodes fit into a /28")
	}
	if _, err := place(3, IPv4, "172.18.0.0/16", "10.244.0.0/23"); err == nil {
		t.Error("3 nodes got a /24 each of a /23")
	}
	if _, err := place(3, IPv6, "fd00:172:18::/64", "fd00:10:244::/63"); err == nil {
		t.Error("3 nodes got a /64 each of a /63")
	}
}

func prefixes(text string) []netip.Prefix {
	var out []netip.Prefix
	for _, one := range strings.Fields(text) {
		out = append(out, netip.MustParsePrefix(one))
	}
	return out
}

func TestRangesAreThoseOfTheFamilies(t *testing.T) {
	for _, test := range []struct {
		family    IPFamily
		pods      string
		want      string
		complaint string
	}{
		{IPv4, "", "10.244.0.0/16", ""},
		{IPv6, "", "fd00:10:244::/56", ""},
		{IPDual, "", "10.244.0.0/16 fd00:10:244::/56", ""},
		{IPDual6, "", "fd00:10:244::/56 10.244.0.0/16", ""},
		{IPDual, "10.1.0.0/16 fd00:1::/56", "10.1.0.0/16 fd00:1::/56", ""},
		{IPv4, "fd00:1::/56", "", "--ip-family ipv4 needs an IPv4 range"},
		{IPv6, "10.1.0.0/16", "", "--ip-family ipv6 needs an IPv6 range"},
		{IPDual, "10.1.0.0/16", "", "needs an IPv4 range and an IPv6 range"},
		{IPDual, "fd00:1::/56 10.1.0.0/16", "", "needs an IPv4 range and an IPv6 range"},
		{IPDual6, "10.1.0.0/16 fd00:1::/56", "", "needs an IPv6 range and an IPv4 range"},
	} {
		r := Record{Name: "dev", IPFamily: test.family}
		err := r.chooseRanges(Options{Nodes: 1, PodCIDRs: prefixes(test.pods)}, nil)
		if test.complaint != "" {
			if err == nil || !strings.Contains(err.Error(), test.complaint) || !strings.Contains(err.Error(), "--pod-cidr") {
				t.Errorf("%s with %q: error %v", test.family, test.pods, err)
			}
			continue
		}
		if err != nil || !slices.Equal(r.PodCIDRs, prefixes(test.want)) {
			t.Errorf("%s with %q: %v, %v", test.family, test.pods, r.PodCIDRs, err)
		}
		if !r.whole() {
			t.Errorf("%s: the record does not count as whole: %+v", test.family, r)
		}
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
	v4 := []netip.Addr{netip.MustParseAddr("172.18.0.1")}
	v6 := []netip.Addr{netip.MustParseAddr("fd00:172:18::1")}
	both := append(v4[:1:1], v6...)
	for _, test := range []struct {
		name, host, want string
		relay            bool
		gateways         []netip.Addr
	}{
		{"plain", "# x\nnameserver 192.0.2.53\nsearch lan\n", "nameserver 192.0.2.53\nsearch lan\n", false, v4},
		{"systemd-resolved", "nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch .\n", "nameserver 172.18.0.1\noptions edns0 trust-ad\nsearch .\n", true, v4},
		{"IPv6 loopback", "nameserver ::1\n", "nameserver 172.18.0.1\n", true, v4},
		{"mixed", "nameserver 127.0.0.1\nnameserver 192.0.2.53\n", "nameserver 192.0.2.53\n", false, v4},
		{"none", "", "", false, v4},
		{"of the other family", "nameserver 192.0.2.53\n", "nameserver fd00:172:18::1\n", true, v6},
		{"of both families", "nameserver 2001:db8::53\nnameserver 192.0.2.53\n", "nameserver 192.0.2.53\n", false, v4},
		{"both families", "nameserver 2001:db8::53\nnameserver 192.0.2.53\n", "nameserver 2001:db8::53\nnameserver 192.0.2.53\n", false, both},
	} {
		got, relay := nodeResolvConf(test.host, test.gateways)
		if got != test.want || relay != test.relay {
			t.Errorf("%s: %q, relay %v", test.name, got, relay)
		}
	}
}

func TestRecordKnowsItsAddresses(t *testing.T) {
	r := Record{
		Name: "dev", NodeCIDRs: prefixes("172.18.0.0/16 fd00:172:18::/64"), ServiceCIDRs: prefixes("10.96.0.0/12 fd00:10:96::/112"), APIPort: 6443,
		Nodes: []Node{{Name: "dev-control-plane", Addresses: []netip.Addr{netip.MustParseAddr("172.18.0.2")}}, {Name: "dev-worker"}},
	}
	if got := fmt.Sprint(r.Gateways(), r.DNS(), " ", r.Server()); got != "[172.18.0.1 fd00:172:18::1] [10.96.0.10 fd00:10:96::a] https://172.18.0.2:6443" {
		t.Errorf("gateways, DNS, server: %s", got)
	}
	for name, want := range map[string]string{"worker": "dev-worker", "dev-worker": "dev-worker", "worker9": ""} {
		if node, err := r.Node(name); node.Name != want || (err == nil) != (want != "") {
			t.Errorf("%s: %v, %v", name, node.Name, err)
		}
	}
}
