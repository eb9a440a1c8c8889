// SPDX-License-Identifier: Apache-2.0

package services

import (
	"net/netip"
	"testing"
)

// slowest looks at every address of a band: what lowest must find.
func slowest(b *band, static bool, taken map[netip.Addr]struct{}) netip.Addr {
	for addr := b.first; addr.IsValid() && b.usable(addr); addr = addr.Next() {
		if _, used := taken[addr]; !used && addr.Less(b.dynamic) == static {
			return addr
		}
	}
	return netip.Addr{}
}

// Whatever is taken and freed in whatever order, the lowest free address of each band is found, and no other.
func FuzzBand(f *testing.F) {
	for _, prefix := range []string{"10.96.0.0/28", "10.96.0.0/24", "192.0.2.4/30", "192.0.2.4/31", "192.0.2.4/32", "255.255.255.0/24", "2001:db8::/120", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ff00/120"} {
		f.Add(prefix, []byte{1, 2, 3, 1, 129, 200, 0, 0, 255, 3})
	}
	f.Fuzz(func(t *testing.T, text string, steps []byte) {
		prefix, err := netip.ParsePrefix(text)
		if err != nil || prefix.Addr().BitLen()-prefix.Bits() > 10 || prefix.Addr().Is4In6() || len(steps) > 200 {
			t.Skip()
		}
		b, taken := newBand(prefix), map[netip.Addr]struct{}{}
		for _, step := range steps {
			static := step&1 == 1
			got, want := b.lowest(static, taken), slowest(b, static, taken)
			if got != want {
				t.Fatalf("%s, static %v: lowest is %v, want %v, of taken %v", prefix, static, got, want, taken)
			}
			if got.IsValid() && !prefix.Contains(got) {
				t.Fatalf("%v is not in %s", got, prefix)
			}
			if got.IsValid() && step < 128 {
				taken[got] = struct{}{}
				continue
			}
			if addr := add(prefix.Masked().Addr(), uint64(step>>1)); prefix.Contains(addr) {
				delete(taken, addr)
				b.freed(addr)
			}
		}
	})
}
