// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"testing"

	"eastwest/internal/kernel/netns/netnstest"
)

// A chain that is there with a rule, in both families, is not gone; one that is empty or missing in either is: the kernel and the
// programs say so alike.
func TestAnyGone(t *testing.T) {
	netnstest.RequireProgram(t, "iptables-restore")
	conn := New(netnstest.New(t))
	inNftables, err := conn.inNftables(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	chains := map[string]string{"nat": "KUBE-ONE", "filter": "KUBE-TWO"}
	steps := []struct {
		family Family
		input  string
		gone   bool
	}{
		{IPv4, "*nat\n:KUBE-ONE - [0:0]\n-A KUBE-ONE -j RETURN\nCOMMIT\n*filter\n:KUBE-TWO - [0:0]\n-A KUBE-TWO -j RETURN\nCOMMIT\n", true},
		{IPv6, "*nat\n:KUBE-ONE - [0:0]\n-A KUBE-ONE -j RETURN\nCOMMIT\n*filter\n:KUBE-TWO - [0:0]\n-A KUBE-TWO -j RETURN\nCOMMIT\n", false},
		{IPv4, "*filter\n:KUBE-TWO - [0:0]\nCOMMIT\n", true},
		{IPv4, "*filter\n-A KUBE-TWO -j RETURN\nCOMMIT\n", false},
		{IPv6, "*nat\n:KUBE-ONE - [0:0]\n-X KUBE-ONE\nCOMMIT\n", true},
	}
	for i, s := range steps {
		if err := conn.Restore(t.Context(), s.family, s.input); err != nil {
			t.Fatal(err)
		}
		if gone := conn.listsNone(t.Context(), chains); gone != s.gone {
			t.Errorf("step %d: gone is %t by the programs, want %t", i, gone, s.gone)
		}
		if gone := conn.hasNone(t.Context(), chains); inNftables && gone != s.gone {
			t.Errorf("step %d: gone is %t by the kernel, want %t", i, gone, s.gone)
		}
	}
}
