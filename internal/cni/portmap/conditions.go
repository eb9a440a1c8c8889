// SPDX-License-Identifier: Apache-2.0

package portmap

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"

	"github.com/google/nftables"

	"eastwest/internal/cni/plugin"
)

// conditions returns what the configuration has packets to an address's family fulfil before they are mapped.
func (c *config) conditions(addr netip.Addr) []string {
	if addr.Is4() {
		return c.ConditionsV4
	}
	return c.ConditionsV6
}

// table is the nftables table that holds a configuration's mappings.
func (c *config) table() table {
	t := table{name: TableName, conditions: [2][]string{c.ConditionsV4, c.ConditionsV6}}
	if t.conditional() {
		sum := sha256.Sum256(fmt.Appendf(nil, "%q", t.conditions))
		t.name += "_" + hex.EncodeToString(sum[:4])
	}
	return t
}

func (t table) conditional() bool { return len(t.conditions[0])+len(t.conditions[1]) > 0 }

// addJumps makes the parts of the table that conditions are written in. They are in nft's language, so nft reads them.
// What a crash left of an earlier attempt is replaced.
func (t table) addJumps(ctx context.Context) error {
	var b strings.Builder
	fmt.Fprintf(&b, "add table inet %[1]s\ndelete table inet %[1]s\nadd table inet %[1]s\nadd chain inet %[1]s hostports\n", t.name)
	for _, hook := range []string{"prerouting", "output"} {
		fmt.Fprintf(&b, "add chain inet %s %s { type nat hook %s priority %d; }\n", t.name, hook, hook, priorityDNAT)
		for i, family := range []string{"ipv4", "ipv6"} {
			fmt.Fprintf(&b, "add rule inet %s %s meta nfproto %s %s fib daddr type local jump hostports\n",
				t.name, hook, family, strings.Join(t.conditions[i], " "))
		}
	}
	nft := exec.CommandContext(ctx, "nft", "-f", "-")
	var complaint bytes.Buffer
	nft.Stdin, nft.Stderr = strings.NewReader(b.String()), &complaint
	if err := nft.Run(); err != nil {
		return plugin.ConfigError("nft refuses the conditions %q (v4), %q (v6): %v: %s", t.conditions[0], t.conditions[1], err, bytes.TrimSpace(complaint.Bytes()))
	}
	return nil
}

// tables lists the tables of mappings that this host has.
func tables() ([]table, error) {
	c, err := nftables.New()
	if err != nil {
		return nil, fmt.Errorf("open nftables: %w", err)
	}
	all, err := c.ListTablesOfFamily(nftables.TableFamilyINet)
	if err != nil {
		return nil, fmt.Errorf("list nftables tables: %w", err)
	}
	var out []table
	for _, t := range all {
		if t.Name == TableName || strings.HasPrefix(t.Name, TableName+"_") {
			out = append(out, table{name: t.Name})
		}
	}
	return out, nil
}

// checkConditions refuses what would end a rule and begin another statement.
func checkConditions(conditions []string) error {
	if slices.ContainsFunc(conditions, func(c string) bool { return strings.ContainsAny(c, ";\n\r") }) {
		return plugin.ConfigError("conditions %q: a condition is a part of one rule", conditions)
	}
	return nil
}
