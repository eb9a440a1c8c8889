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
