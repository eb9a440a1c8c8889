// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// write returns the input of iptables-restore that turns have into want; empty when nothing differs. A chain that differs
// is written whole. Chains that nothing leads to any more go in the same transaction.
func write(have, want chains, add, remove []jump) string {
	var out strings.Builder
	for _, table := range []string{raw, nat, filter} { // what translates comes before what refuses
		var declare, rules, gone strings.Builder
		for _, at := range sorted(want) {
			old, exists := have[at]
			if at.table != table || exists && slices.Equal(old, want[at]) {
				continue
			}
			fmt.Fprintf(&declare, ":%s - [0:0]\n", at.chain)
			for _, rule := range want[at] {
				fmt.Fprintf(&rules, "-A %s %s\n", at.chain, rule)
			}
		}
		for _, at := range sorted(have) {
			if _, stays := want[at]; at.table == table && !stays {
				fmt.Fprintf(&declare, ":%s - [0:0]\n", at.chain)
				fmt.Fprintf(&gone, "-X %s\n", at.chain)
			}
		}
		for _, j := range add {
			if j.from.table == table {
				fmt.Fprintf(&rules, "-I %s 1 %s\n", j.from.chain, j.rule)
			}
		}
		for _, j := range remove {
			if j.from.table == table {
				fmt.Fprintf(&rules, "-D %s %s\n", j.from.chain, j.rule)
			}
		}
		if declare.Len()+rules.Len()+gone.Len() > 0 {
			fmt.Fprintf(&out, "*%s\n%s%s%sCOMMIT\n", table, declare.String(), rules.String(), gone.String())
		}
	}
	return out.String()
}

// differing returns the chains whose rules are not the same.
func differing(a, b chains) []place {
	var out []place
	for at := range a {
		if !slices.Equal(a[at], b[at]) {
			out = append(out, at)
		}
	}
	for at := range b {
		if _, both := a[at]; !both {
			out = append(out, at)
		}
	}
	return out
}

func sorted(c chains) []place {
	return slices.SortedFunc(maps.Keys(c), func(a, b place) int {
		return cmp.Or(cmp.Compare(a.table, b.table), cmp.Compare(a.chain, b.chain))
	})
}
