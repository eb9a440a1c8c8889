// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// writes returns the inputs of iptables-restore that turn have into want, to be executed in turn; none when nothing differs. A
// chain that differs is written whole.
//
// Up to batch chains are one input, in which each table changes as a whole. The program takes time that grows with the square of the
// chains of one input, so more are split: chains of services come before what leads to them, and go after it.
func writes(have, want chains, add, remove []jump, batch int) (inputs []string) {
	var leaves, shared, gone []place
	for _, at := range sorted(want) {
		old, exists := have[at]
		switch {
		case exists && slices.Equal(old, want[at]):
		case rank(at) < rankShared:
			leaves = append(leaves, at)
		default:
			shared = append(shared, at)
		}
	}
	for _, at := range sorted(have) {
		if _, stays := want[at]; !stays {
			gone = append(gone, at)
		}
	}
	if len(leaves)+len(shared)+len(gone) <= batch {
		return nonEmpty(input(want, append(leaves, shared...), gone, add, remove))
	}
	slices.SortStableFunc(leaves, func(a, b place) int { return rank(a) - rank(b) })
	slices.SortStableFunc(gone, func(a, b place) int { return rank(b) - rank(a) })
	for chunk := range slices.Chunk(leaves, batch) {
		inputs = append(inputs, input(want, chunk, nil, nil, nil))
	}
	inputs = append(inputs, nonEmpty(input(want, shared, nil, add, remove))...)
	for chunk := range slices.Chunk(gone, batch) {
		inputs = append(inputs, input(want, nil, chunk, nil, nil))
	}
	return inputs
}

func nonEmpty(input string) []string {
	if input == "" {
		return nil
	}
	return []string{input}
}

const rankShared = 5

// rank orders chains: rules lead to chains of a lower rank alone, but for those of the last.
func rank(at place) int {
	if at.table != nat {
		return rankShared
	}
	switch {
	case at.chain == chainMark, at.chain == chainOutside:
		return 0
	case strings.HasPrefix(at.chain, prefixEndpoint):
		return 1
	case strings.HasPrefix(at.chain, prefixCluster), strings.HasPrefix(at.chain, prefixLocal):
		return 2
	case strings.HasPrefix(at.chain, prefixExternal):
		return 3
	case strings.HasPrefix(at.chain, prefixRanges):
		return 4
	}
	return rankShared
}

// input returns one input of iptables-restore: chains to write as want has them, chains that go, and jumps.
func input(want chains, written, gone []place, add, remove []jump) string {
	var out strings.Builder
	for _, table := range []string{raw, nat, filter} { // what translates comes before what refuses
		var declare, rules, end strings.Builder
		for _, at := range written {
			if at.table != table {
				continue
			}
			fmt.Fprintf(&declare, ":%s - [0:0]\n", at.chain)
			for _, rule := range want[at] {
				fmt.Fprintf(&rules, "-A %s %s\n", at.chain, rule)
			}
		}
		for _, at := range gone {
			if at.table == table {
				fmt.Fprintf(&declare, ":%s - [0:0]\n", at.chain)
				fmt.Fprintf(&end, "-X %s\n", at.chain)
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
		if declare.Len()+rules.Len()+end.Len() > 0 {
			fmt.Fprintf(&out, "*%s\n%s%s%sCOMMIT\n", table, declare.String(), rules.String(), end.String())
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
