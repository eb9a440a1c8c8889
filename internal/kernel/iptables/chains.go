// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"eastwest/internal/kernel/nfnetlink"
)

// attempts is how often a listing is repeated that another program disturbed.
const attempts = 3

// Chain names a chain.
type Chain struct{ Table, Name string }

// Chains returns the chains of some tables that wanted names, with their rules as iptables-save prints them without "-A CHAIN ", and of
// other chains the rules that lead to those. wanted may be nil: every chain.
//
// Where the programs keep rules in nftables, the kernel is asked itself: iptables-save 1.8.9 takes time that grows with the square of
// the chains, 7 minutes for 110,000. Where that has a rule of a shape that is not known here, the program is asked.
func (c *Conn) Chains(ctx context.Context, family Family, tables []string, wanted func(chain string) bool) (map[Chain][]string, error) {
	inNftables, err := c.inNftables(ctx)
	if err != nil {
		return nil, err
	}
	for i := 0; inNftables && i < attempts && ctx.Err() == nil; i++ {
		out, err := c.listed(ctx, family, tables, wanted)
		switch {
		case err == nil:
			return out, nil
		case errors.Is(err, errUnknown):
			inNftables = false
		case !errors.Is(err, nfnetlink.ErrDisturbed):
			return nil, fmt.Errorf("list chains of %s: %w", family, err)
		}
	}
	out := map[Chain][]string{}
	for _, table := range tables {
		text, err := c.Save(ctx, family, table)
		if err != nil {
			return nil, err
		}
		Parse(out, table, text, wanted)
	}
	return out, nil
}

// inNftables reports whether the programs keep rules in nftables, and not in the tables that the kernel had before.
func (c *Conn) inNftables(ctx context.Context) (bool, error) {
	version, err := c.Version(ctx)
	return version.InNftables(), err
}

// Version is what the programs say that they are.
type Version string

// InNftables reports whether programs of this version keep rules in nftables.
func (v Version) InNftables() bool { return strings.Contains(string(v), "nf_tables") }

// Version asks the programs.
func (c *Conn) Version(ctx context.Context) (Version, error) {
	text, err := c.run(ctx, "", "iptables", "--version")
	return Version(strings.TrimSpace(text)), err
}

// Parse adds to out what iptables-save prints of a table; see Chains.
func Parse(out map[Chain][]string, table, text string, wanted func(chain string) bool) {
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if declared, ok := strings.CutPrefix(line, ":"); ok {
			name, _, _ := strings.Cut(declared, " ")
			if wanted == nil || wanted(name) {
				out[Chain{table, name}] = nil
			}
			continue
		}
		rest, ok := strings.CutPrefix(line, "-A ")
		if !ok {
			continue
		}
		name, rule, _ := strings.Cut(rest, " ")
		_, target, _ := strings.Cut(rule, "-j ")
		if wanted == nil || wanted(name) || wanted(target) {
			out[Chain{table, name}] = append(out[Chain{table, name}], rule)
		}
	}
}
