// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"strings"
	"testing"

	"eastwest/internal/kernel/netns/netnstest"
)

// Others' chains and the rules that lead to them are none of ours, whoever writes them into the same tables; each chain of ours is, and
// each rule that leads to it.
func TestLedger(t *testing.T) {
	netnstest.RequireProgram(t, "iptables-restore")
	ns := netnstest.New(t)
	conn, other := New(ns), New(ns)
	if in, err := conn.inNftables(t.Context()); err != nil || !in {
		t.Skip("the programs keep rules outside nftables", err)
	}
	const ours = "*nat\n:OURS-A - [0:0]\n:OURS-B - [0:0]\n-A OURS-A -j OURS-B\n-A OURS-B -j RETURN\n-A PREROUTING -j OURS-A\nCOMMIT\n"
	ledger := conn.Ledger([]string{"nat"}, func(chain string) bool { return strings.HasPrefix(chain, "OURS-") })
	go func() { _ = ledger.Run(t.Context(), func(bool) {}) }()
	<-ledger.Begun()
	since, err := ledger.Generation()
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		by      *Conn
		family  Family
		input   string
		touched bool
	}{
		{conn, IPv4, ours, false},
		{conn, IPv6, ours, false},
		{other, IPv4, "*nat\n:CNI-DN - [0:0]\n-A CNI-DN -p tcp --dport 80 -j DNAT --to-destination 10.0.0.1:80\n-A PREROUTING -j CNI-DN\n-A OUTPUT -j CNI-DN\nCOMMIT\n", false},
		{other, IPv4, "*nat\n-D PREROUTING -j CNI-DN\n-D OUTPUT -j CNI-DN\n-F CNI-DN\n-X CNI-DN\nCOMMIT\n", false},
		{other, IPv4, "*filter\n:OURS-A - [0:0]\n-A OURS-A -j DROP\nCOMMIT\n", false}, // of another table
		{other, IPv4, "*nat\n-D PREROUTING -j OURS-A\nCOMMIT\n", true},
		{other, IPv4, "*nat\n-A PREROUTING -j OURS-A\nCOMMIT\n", true},
		{other, IPv4, "*nat\n-A OURS-B -j RETURN\nCOMMIT\n", true},
		{other, IPv4, "*nat\n-F OURS-B\nCOMMIT\n", true},
		{other, IPv6, "*nat\n:OURS-C - [0:0]\nCOMMIT\n", true},
		{other, IPv6, "*nat\n-X OURS-C\nCOMMIT\n", true},
		{conn, IPv6, ours, false},
	} {
		if err := step.by.Restore(t.Context(), step.family, step.input); err != nil {
			t.Fatalf("%s: %v", step.input, err)
		}
		last, ok := ledger.Untouched(t.Context(), since)
		if ok == step.touched || last == since {
			t.Errorf("%s %s: %d transactions, untouched %t", step.family, step.input, last-since, ok)
		}
		since = last
	}
}
