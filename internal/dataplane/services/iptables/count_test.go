// SPDX-License-Identifier: Apache-2.0

package iptables_test

import (
	"fmt"
	"log/slog"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"eastwest/internal/dataplane/services/iptables"
	kernel "eastwest/internal/kernel/iptables"
	"eastwest/internal/kernel/iptables/iptablestest"
	"eastwest/internal/table"
)

// However the services came to be what they are, as many rules are counted as when all are written at once, and a change
// writes few of them.
func TestRulesAreCounted(t *testing.T) {
	type counts map[string]int
	newBackend := func(total, written counts) *iptables.Backend {
		backend, err := iptables.New(iptables.Config{
			Kernel: &iptablestest.Fake{}, Log: slog.New(slog.DiscardHandler),
			Rules: func(family kernel.Family, table string, all, last int) {
				total[fmt.Sprint(family, " ", table)], written[fmt.Sprint(family, " ", table)] = all, last
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		return backend
	}
	rows := func(endpoints ...int) (out table.Table[table.Service]) {
		set := map[string]table.Service{}
		for i, n := range endpoints {
			name := fmt.Sprint("s", i)
			f := table.Frontend{Addr: netip.AddrFrom4([4]byte{10, 96, 0, byte(i)}), Protocol: table.TCP, Port: 80, Action: table.Reject}
			for e := range n {
				f.Action, f.Endpoints = table.Forward, append(f.Endpoints, netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 244, 0, byte(e)}), 80))
			}
			set["default/"+name] = table.Service{Object: table.Object{Namespace: "default", Name: name}, Frontends: []table.Frontend{f}}
		}
		return out.With(set)
	}
	total, written := counts{}, counts{}
	backend := newBackend(total, written)
	for i, endpoints := range [][]int{{0, 1, 2}, {0, 1, 2, 3}, {0, 1, 4, 3}, {2, 1, 0, 3}, {2, 0}, {2, 5}} {
		names := []string{"default/s0", "default/s1", "default/s2", "default/s3"}
		if err := backend.Apply(t.Context(), rows(endpoints...), table.Keys{All: i == 0, Names: names}); err != nil {
			t.Fatal(err)
		}
		want := counts{}
		if err := newBackend(want, counts{}).Apply(t.Context(), rows(endpoints...), table.Keys{All: true}); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, total); diff != "" {
			t.Errorf("step %d, rules (-fresh +changed):\n%s", i, diff)
		}
	}
	if written["IPv4 nat"] >= total["IPv4 nat"] || written["IPv6 nat"] != 0 {
		t.Errorf("written %v, of %v", written, total)
	}
}
