// SPDX-License-Identifier: Apache-2.0

// Package iptrule edits a table of iptables rule by rule: it reads the table once, and writes what is missing or in the
// way as one change.
//
// Rules are compared as text, so they are written the way iptables-save prints them: addresses with their prefix
// length, the protocol's match spelled out ("-p tcp -m tcp --dport 80"), comments in double quotes. Edits of these
// plugins exclude each other by nftset.Locked, since reading and writing are two steps.
package iptrule

import (
	"context"
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"strings"

	"eastwest/internal/kernel/iptables"
)

// Table is a table of one family as it was read, with the changes to it that were asked for since.
type Table struct {
	family iptables.Family
	name   string
	chains map[string][]string // rules in order, without "-A CHAIN "
	made   []string            // chains to make or to empty
	edits  []string
}

// FamilyOf returns the family whose tables see an address.
func FamilyOf(ip net.IP) iptables.Family {
	if ip.To4() != nil {
		return iptables.IPv4
	}
	return iptables.IPv6
}

// Read reads a table in the calling thread's network namespace.
func Read(ctx context.Context, family iptables.Family, name string) (*Table, error) {
	text, err := iptables.New("").Save(ctx, family, name)
	if err != nil {
		return nil, fmt.Errorf("read %s table %s: %w", family, name, err)
	}
	return parse(family, name, text), nil
}

func parse(family iptables.Family, name, text string) *Table {
	t := &Table{family: family, name: name, chains: map[string][]string{}}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if chain, found := strings.CutPrefix(line, ":"); found {
			chain, _, _ = strings.Cut(chain, " ")
			t.chains[chain] = t.chains[chain][:0:0]
		}
		if rule, found := strings.CutPrefix(line, "-A "); found {
			chain, rule, _ := strings.Cut(rule, " ")
			t.chains[chain] = append(t.chains[chain], rule)
		}
	}
	return t
}

// Rules returns the rules of a chain, in order; nil if there is no such chain.
func (t *Table) Rules(chain string) []string { return t.chains[chain] }

// Chains returns the names of all chains that start with a prefix, sorted.
func (t *Table) Chains(prefix string) []string {
	names := slices.Sorted(maps.Keys(t.chains))
	return slices.DeleteFunc(names, func(n string) bool { return !strings.HasPrefix(n, prefix) })
}

// Has reports whether a chain has a rule.
func (t *Table) Has(chain, rule string) bool { return slices.Contains(t.chains[chain], rule) }

// EnsureChain makes a chain if it is missing.
func (t *Table) EnsureChain(chain string) {
	if _, found := t.chains[chain]; !found {
		t.Fill(chain)
	}
}

// Fill makes a chain, or empties it, and gives it rules. It is not for chains that were dropped: chains are made first.
func (t *Table) Fill(chain string, rules ...string) {
	t.made = append(t.made, chain)
	t.chains[chain] = nil
	for _, r := range rules {
		t.Append(chain, r)
	}
}

// Append puts a rule at the end of a chain unless the chain has it.
func (t *Table) Append(chain, rule string) {
	if !t.Has(chain, rule) {
		t.chains[chain] = append(t.chains[chain], rule)
		t.edits = append(t.edits, "-A "+chain+" "+rule)
	}
}

// Insert puts a rule at the head of a chain unless the chain has it.
func (t *Table) Insert(chain, rule string) {
	if !t.Has(chain, rule) {
		t.chains[chain] = slices.Insert(t.chains[chain], 0, rule)
		t.edits = append(t.edits, "-I "+chain+" 1 "+rule)
	}
}

// Delete removes a rule from a chain as often as it is there.
func (t *Table) Delete(chain, rule string) {
	for t.Has(chain, rule) {
		i := slices.Index(t.chains[chain], rule)
		t.chains[chain] = slices.Delete(t.chains[chain], i, i+1)
		t.edits = append(t.edits, "-D "+chain+" "+rule)
	}
}

// Detach removes all rules that lead to a chain.
func (t *Table) Detach(chain string) {
	for from, rules := range t.chains {
		for _, rule := range slices.Clone(rules) {
			if Target(rule) == chain {
				t.Delete(from, rule)
			}
		}
	}
}

// Drop removes a chain with all rules that lead to it, and reports whether there was one.
func (t *Table) Drop(chain string) bool {
	if _, found := t.chains[chain]; !found {
		return false
	}
	t.Detach(chain)
	t.edits = append(t.edits, "-F "+chain, "-X "+chain)
	delete(t.chains, chain)
	return true
}

// Changed reports whether anything was asked for that is not there.
func (t *Table) Changed() bool { return len(t.made)+len(t.edits) > 0 }

// commit makes the changes, all or none.
func (t *Table) commit(ctx context.Context, lock *os.File) error {
	if !t.Changed() {
		return nil
	}
	var b strings.Builder
	fmt.Fprintf(&b, "*%s\n", t.name)
	for _, chain := range t.made {
		fmt.Fprintf(&b, ":%s - [0:0]\n", chain)
	}
	for _, edit := range t.edits {
		b.WriteString(edit + "\n")
	}
	b.WriteString("COMMIT\n")
	if err := iptables.New("").Holding(lock).Restore(ctx, t.family, b.String()); err != nil {
		return fmt.Errorf("change %s table %s: %w", t.family, t.name, err)
	}
	t.made, t.edits = nil, nil
	return nil
}

// Target returns the chain that a rule jumps to.
func Target(rule string) string {
	_, target, _ := strings.Cut(" "+rule, " -j ")
	target, _, _ = strings.Cut(target, " ")
	return target
}
