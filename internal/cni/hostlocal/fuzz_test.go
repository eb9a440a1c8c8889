// SPDX-License-Identifier: Apache-2.0

package hostlocal

import (
	"net"
	"net/netip"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
)

func mustSubnet(s string) types.IPNet {
	_, n, err := net.ParseCIDR(s)
	if err != nil {
		panic(err)
	}
	return types.IPNet(*n)
}

// A configuration that is taken has ranges in which every address is in its subnet.
func FuzzConfig(f *testing.F) {
	f.Add([]byte(`{"cniVersion": "1.0.0", "name": "n", "ipam": {"subnet": "10.1.2.0/24"}}`), "IP=10.1.2.3")
	f.Add([]byte(`{"name": "n", "ipam": {"ranges": [[{"subnet": "2001:db8::/64", "rangeStart": "2001:db8::9"}]]}, "runtimeConfig": {"ips": ["2001:db8::1/64"]}}`), "")
	f.Fuzz(func(t *testing.T, stdin []byte, env string) {
		c, err := parse(stdin, env)
		if err != nil {
			return
		}
		for _, set := range c.sets {
			n := 0
			for a, r := range set.from(netip.Addr{}) {
				if !r.subnet.Contains(a) || a == r.gateway {
					t.Fatalf("%s yields %s of %s with gateway %s", set, a, r.subnet, r.gateway)
				}
				if n++; n > 100 {
					break
				}
			}
		}
	})
}

// A lease that names an owner reads back as it was written.
func FuzzLease(f *testing.F) {
	f.Add([]byte("c1\r\neth0"))
	f.Add([]byte("c1"))
	f.Add([]byte(" \r\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		o, ok := parseOwner(text)
		if !ok {
			return
		}
		again, ok := parseOwner([]byte(o.String()))
		if !ok || again != o {
			t.Errorf("%q reads as %+v, which reads as %+v", text, o, again)
		}
	})
}

// Every address of a set comes once, wherever the walk starts.
func TestWalkOfASet(t *testing.T) {
	set, err := newRangeSet([]span{{Subnet: mustSubnet("10.1.2.0/29")}, {Subnet: mustSubnet("10.1.3.0/29")}})
	if err != nil {
		t.Fatal(err)
	}
	for _, last := range []string{"", "10.1.2.1", "10.1.2.4", "10.1.2.6", "10.1.3.1", "10.1.3.6", "192.0.2.1"} {
		start, _ := netip.ParseAddr(last)
		seen := map[netip.Addr]int{}
		for a := range set.from(start) {
			seen[a]++
		}
		for a, n := range seen {
			if n != 1 {
				t.Errorf("from %q: %s comes %d times", last, a, n)
			}
		}
		if len(seen) != 10 {
			t.Errorf("from %q: %d addresses, want 10", last, len(seen))
		}
	}
}
