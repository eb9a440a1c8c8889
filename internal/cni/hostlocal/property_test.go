// SPDX-License-Identifier: Apache-2.0

package hostlocal

import (
	"fmt"
	"net/netip"
	"os"
	"testing"

	"pgregory.net/rapid"
)

// Whatever is done in whatever order, also behind the plugin's back, no address has two owners, none is lost, and the
// index says what the files say.
func TestLeasesStayConsistent(t *testing.T) {
	set, err := newRangeSet([]span{{Subnet: mustSubnet("10.1.2.0/28")}})
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		dir, err := os.MkdirTemp("", "leases")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(dir)
		model := map[string]netip.Addr{}
		owners := rapid.Custom(func(t *rapid.T) owner {
			return newOwner(fmt.Sprintf("c%d", rapid.IntRange(0, 19).Draw(t, "container")), "eth0")
		})
		t.Repeat(map[string]func(*rapid.T){
			"add":     func(t *rapid.T) { addAny(t, dir, set, owners.Draw(t, "owner"), model) },
			"del":     func(t *rapid.T) { delAny(t, dir, owners.Draw(t, "owner"), model) },
			"foreign": func(t *rapid.T) { foreignDel(t, dir, owners.Draw(t, "owner"), model) },
		})
		compare(t, dir, model)
	})
}

func addAny(t *rapid.T, dir string, set rangeSet, o owner, model map[string]netip.Addr) {
	s := mustOpen(t, dir)
	defer s.close()
	ip, err := s.allocate(set, 0, o, netip.Addr{})
	_, has := model[o.String()]
	if wantErr := has || len(model) == 13; (err != nil) != wantErr {
		t.Fatalf("allocate: %v, want an error: %v", err, wantErr)
	}
	if err == nil {
		a, _ := netip.AddrFromSlice(ip.Address.IP)
		model[o.String()] = a
	}
}

func delAny(t *rapid.T, dir string, o owner, model map[string]netip.Addr) {
	s := mustOpen(t, dir)
	defer s.close()
	if _, err := s.release(o); err != nil {
		t.Fatal(err)
	}
	delete(model, o.String())
}

func foreignDel(t *rapid.T, dir string, o owner, model map[string]netip.Addr) {
	if a, ok := model[o.String()]; ok {
		s := mustOpen(t, dir)
		defer s.close()
		if err := s.remove(a); err != nil {
			t.Fatal(err)
		}
		delete(model, o.String())
	}
}

func compare(t *rapid.T, dir string, model map[string]netip.Addr) {
	s := mustOpen(t, dir)
	defer s.close()
	all, err := s.leases()
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != len(model) {
		t.Fatalf("%d leases, want %d", len(all), len(model))
	}
	for _, l := range all {
		found, err := s.find(l.owner)
		if err != nil || len(found) != 1 || found[0] != l.addr || model[l.owner.String()] != l.addr {
			t.Fatalf("%v holds %v, index says %v, %v; want %v", l.owner, l.addr, found, err, model[l.owner.String()])
		}
	}
}

func mustOpen(t *rapid.T, dir string) *store {
	s, err := openStore(dir, "net")
	if err != nil {
		t.Fatal(err)
	}
	return s
}
