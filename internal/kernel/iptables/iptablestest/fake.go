// SPDX-License-Identifier: Apache-2.0

// Package iptablestest is iptables in memory, for tests: what iptables-restore does to chains, the kernel's refusals, and
// failures on demand.
package iptablestest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"eastwest/internal/kernel/iptables"
)

// Fake is one network namespace's iptables. The zero value is empty; it is safe for concurrent use.
type Fake struct {
	// Fail is asked before every call and before each table that a call changes; its error ends the call there. May be nil.
	Fail func() error
	// Refuse is asked for every line of an input. May be nil.
	Refuse func(line string) error

	mu     sync.Mutex
	tables map[string]map[string][]string // by family and table: chains and their rules
}

var builtin = map[string][]string{
	"nat": {"PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"}, "filter": {"INPUT", "FORWARD", "OUTPUT"}, "raw": {"PREROUTING", "OUTPUT"},
}

// Chains returns what iptables.Conn.Chains does.
func (f *Fake) Chains(_ context.Context, family iptables.Family, tables []string, wanted func(string) bool) (map[iptables.Chain][]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.fail(); err != nil {
		return nil, err
	}
	out := map[iptables.Chain][]string{}
	for _, table := range tables {
		var text strings.Builder
		content := f.table(family, table)
		for _, chain := range slices.Sorted(maps.Keys(content)) {
			fmt.Fprintf(&text, ":%s - [0:0]\n", chain)
			for _, rule := range content[chain] {
				fmt.Fprintf(&text, "-A %s %s\n", chain, rule)
			}
		}
		iptables.Parse(out, table, text.String(), wanted)
	}
	return out, nil
}

// Restore executes the input; each table of it changes as a whole or not at all.
func (f *Fake) Restore(_ context.Context, family iptables.Family, input string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.fail(); err != nil {
		return err
	}
	var name string
	var next map[string][]string
	for line := range strings.Lines(input) {
		line = strings.TrimSuffix(line, "\n")
		if f.Refuse != nil {
			if err := f.Refuse(line); err != nil {
				return err
			}
		}
		switch {
		case strings.HasPrefix(line, "*"):
			if err := f.fail(); err != nil {
				return err
			}
			name = line[1:]
			next = maps.Clone(f.table(family, name))
		case line == "COMMIT":
			if err := whole(next); err != nil {
				return fmt.Errorf("table %s: %w", name, err)
			}
			f.tables[string(family)+name] = next
		default:
			if err := execute(next, line); err != nil {
				return fmt.Errorf("line %q: %w", line, err)
			}
		}
	}
	return nil
}

func execute(next map[string][]string, line string) error {
	if declared, ok := strings.CutPrefix(line, ":"); ok {
		chain, _, _ := strings.Cut(declared, " ")
		next[chain] = nil
		return nil
	}
	verb, rest, _ := strings.Cut(line, " ")
	chain, rule, _ := strings.Cut(rest, " ")
	rules, ok := next[chain]
	if !ok {
		return errors.New("no such chain")
	}
	switch verb {
	case "-A":
		next[chain] = append(slices.Clone(rules), rule)
	case "-I":
		next[chain] = slices.Insert(slices.Clone(rules), 0, strings.TrimPrefix(rule, "1 "))
	case "-D":
		at := slices.Index(rules, rule)
		if at < 0 {
			return errors.New("no such rule")
		}
		next[chain] = slices.Delete(slices.Clone(rules), at, at+1)
	case "-X":
		if len(rules) > 0 {
			return errors.New("chain is not empty")
		}
		delete(next, chain)
	default:
		return errors.New("unknown command")
	}
	return nil
}

// whole reports a rule that leads to a chain that is not there.
func whole(content map[string][]string) error {
	for chain, rules := range content {
		for _, rule := range rules {
			_, target, _ := strings.Cut(rule, "-j ")
			target, _, _ = strings.Cut(target, " ")
			if _, ok := content[target]; strings.HasPrefix(target, "KUBE-") && !ok {
				return fmt.Errorf("rule %q of chain %s leads to a chain that does not exist", rule, chain)
			}
		}
	}
	return nil
}

// Flush forgets everything, as somebody with `iptables -F` and `-X` would.
func (f *Fake) Flush() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tables = nil
}

func (f *Fake) table(family iptables.Family, name string) map[string][]string {
	if f.tables == nil {
		f.tables = map[string]map[string][]string{}
	}
	key := string(family) + name
	if f.tables[key] == nil {
		f.tables[key] = map[string][]string{}
		for _, chain := range builtin[name] {
			f.tables[key][chain] = nil
		}
	}
	return f.tables[key]
}

func (f *Fake) fail() error {
	if f.Fail == nil {
		return nil
	}
	return f.Fail()
}
