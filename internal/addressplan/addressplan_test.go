// SPDX-License-Identifier: Apache-2.0

package addressplan

import (
	"net/netip"
	"slices"
	"testing"
)

func TestDNSIsTheTenthAddressOfEachRange(t *testing.T) {
	have := DNS([]netip.Prefix{netip.MustParsePrefix("10.96.0.0/12"), netip.MustParsePrefix("fd00:10:96::/112")})
	want := []netip.Addr{netip.MustParseAddr("10.96.0.10"), netip.MustParseAddr("fd00:10:96::a")}
	if !slices.Equal(have, want) {
		t.Errorf("DNS = %v, want %v", have, want)
	}
}

func TestLoadBalancersGetTheEndOfTheNodeNetwork(t *testing.T) {
	for network, want := range map[string]string{
		"172.18.0.0/16":    "172.18.255.5-172.18.255.254",
		"172.16.0.0/12":    "172.16.255.5-172.16.255.254",
		"10.9.8.0/24":      "10.9.8.191-10.9.8.254",
		"10.9.8.8/29":      "10.9.8.13-10.9.8.14",
		"fd00:172:18::/64": "fd00:172:18::ff05-fd00:172:18::fffe",
	} {
		have, ok := LoadBalancers(netip.MustParsePrefix(network))
		if !ok || have.String() != want {
			t.Errorf("LoadBalancers(%s) = %v, %v, want %s", network, have, ok, want)
		}
	}
	if have, ok := LoadBalancers(netip.MustParsePrefix("10.9.8.0/30")); ok {
		t.Errorf("a network of four addresses gives %v to load balancers", have)
	}
}

func TestRanges(t *testing.T) {
	for text, want := range map[string]string{
		"192.0.2.0/28":          "192.0.2.0-192.0.2.15",
		"192.0.2.7":             "192.0.2.7-192.0.2.7",
		"192.0.2.7 - 192.0.2.9": "192.0.2.7-192.0.2.9",
		"2001:db8::/126":        "2001:db8::-2001:db8::3",
		"192.0.2.9-192.0.2.7":   "", "192.0.2.9-2001:db8::": "", "x": "", "192.0.2.1/40": "", "-": "",
	} {
		have, err := ParseRange(text)
		if want == "" {
			if err == nil {
				t.Errorf("ParseRange(%q) = %v, want an error", text, have)
			}
			continue
		}
		if err != nil || have.String() != want {
			t.Errorf("ParseRange(%q) = %v, %v, want %s", text, have, err, want)
		}
	}
}
