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
// chains that one input names, so more are split: chains of services come before what leads to them, each soon after those that it
// leads to, and go after it.
func writes(have, want chains, add, remove []jump, batch int) (inputs []string) {
	var leaves, shared, gone []place
	for at, rules := range want {
		old, exists := have[at]
		switch {
		case exists && slices.Equal(old, rules):
		case leaf(at):
			leaves = append(leaves, at)
		default:
			shared = append(shared, at)
		}
	}
	for at := range have {
		if _, stays := want[at]; !stays {
			gone = append(gone, at)
		}
	}
	for _, list := range [][]place{leaves, shared, gone} {
		slices.SortFunc(list, place.compare)
	}
	if len(leaves)+len(shared)+len(gone) <= batch {
		return nonEmpty(input(want, append(leaves, shared...), gone, add, remove))
	}
	leaves, gone = bottomUp(leaves, want), bottomUp(gone, have)
	slices.Reverse(gone)
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

// leaf reports whether a chain belongs to one service, or is one that such chains lead to: it leads to no chain that all share.
func leaf(at place) bool {
	return at.table == nat && (at.chain == chainMark || at.chain == chainOutside ||
		slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(at.chain, p) }))
}

// bottomUp orders chains: each comes after those of the list that it leads to.
func bottomUp(list []place, rules chains) []place {
	waits := make(map[place]bool, len(list))
	for _, at := range list {
		waits[at] = true
	}
	out := make([]place, 0, len(list))
	var visit func(place)
	visit = func(at place) {
		if !waits[at] {
			return
		}
		delete(waits, at)
		for _, rule := range rules[at] {
			_, target, _ := strings.Cut(rule, "-j ")
			target, _, _ = strings.Cut(target, " ")
			visit(place{at.table, target})
		}
		out = append(out, at)
	}
	slices.SortStableFunc(list, func(a, b place) int { return cmp.Compare(depth(a), depth(b)) })
	for _, at := range list {
		visit(at)
	}
	return out
}

// depth puts chains of whole services before those of endpoints, so that these are found from the former.
func depth(at place) int {
	if strings.HasPrefix(at.chain, prefixEndpoint) {
		return 1
	}
	return 0
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
	return slices.SortedFunc(maps.Keys(c), place.compare)
}

func (p place) compare(q place) int {
	return cmp.Or(cmp.Compare(p.table, q.table), cmp.Compare(p.chain, q.chain))
}
