// SPDX-License-Identifier: Apache-2.0

package node

import (
	"encoding/json"
	"net/netip"
	"slices"
	"testing"
	"time"

	"eastwest/internal/dataplane"
)

// /healthz has kube-proxy's form: each family that is served has its state, and one that only begins is well.
func TestHealthOfProxy(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	applied := now.Add(-time.Hour)
	for name, test := range map[string]struct {
		progress Progress
		families []string
		want     string
	}{
		"begins": {Progress{}, []string{"IPv4"}, `{"lastUpdated":"0001-01-01T00:00:00Z","currentTime":"2026-01-02T03:04:05Z","healthy":true}`},
		"applied": {Progress{Applied: applied}, []string{"IPv4", "IPv6"},
			`{"lastUpdated":"2026-01-02T02:04:05Z","currentTime":"2026-01-02T03:04:05Z","healthy":true,"status":{` +
				`"IPv4":{"lastUpdated":"2026-01-02T02:04:05Z","healthy":true},"IPv6":{"lastUpdated":"2026-01-02T02:04:05Z","healthy":true}}}`},
		"stuck": {Progress{Applied: applied, Waiting: applied, Refused: []string{"default/odd"}}, []string{"IPv6"},
			`{"lastUpdated":"2026-01-02T02:04:05Z","currentTime":"2026-01-02T03:04:05Z","healthy":false,` +
				`"status":{"IPv6":{"lastUpdated":"2026-01-02T02:04:05Z","healthy":false}},"refusedServices":["default/odd"]}`},
		"never applied": {Progress{Waiting: applied}, []string{"IPv4"}, `{"lastUpdated":"0001-01-01T00:00:00Z","currentTime":"2026-01-02T03:04:05Z","healthy":false}`},
	} {
		if got, err := json.Marshal(healthOf(test.progress, test.families, now)); err != nil || string(got) != test.want {
			t.Errorf("%s: %v\n%s\nwant\n%s", name, err, got, test.want)
		}
	}
}

// Health checks are answered where node ports are served; link-local addresses, which need a link, are left out.
func TestAddressesOfHealthChecks(t *testing.T) {
	own := []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("::1"), netip.MustParseAddr("fd00::7"), netip.MustParseAddr("fe80::7")}
	v4, v6 := netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")
	for name, test := range map[string]struct {
		nodePorts []netip.Prefix
		want      []socketAddress
	}{
		"everywhere":         {nil, []socketAddress{{"tcp", ""}}},
		"localhost as well":  {[]netip.Prefix{v4, v6, dataplane.Loopback}, []socketAddress{{"tcp", ""}}},
		"one family":         {[]netip.Prefix{v4}, []socketAddress{{"tcp4", "0.0.0.0"}}},
		"a range":            {[]netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, []socketAddress{{"tcp4", "192.0.2.7"}}},
		"a range of another": {[]netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), v6}, []socketAddress{{"tcp4", "192.0.2.7"}, {"tcp6", "::"}}},
		"link-local":         {[]netip.Prefix{netip.MustParsePrefix("f000::/4")}, []socketAddress{{"tcp6", "fd00::7"}}},
	} {
		if got := checkAddresses(test.nodePorts, own); !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}
