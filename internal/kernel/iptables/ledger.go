// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"slices"

	"golang.org/x/sys/unix"

	"eastwest/internal/kernel/nfnetlink"
	"eastwest/internal/kernel/transactions"
)

// Ledger returns what knows up to which transaction nobody but this Conn changed the chains of some tables that ours names, nor rules
// that lead from other chains to those. It knows nothing where the programs keep rules outside nftables.
func (c *Conn) Ledger(tables []string, ours func(chain string) bool) *transactions.Ledger {
	return transactions.NewLedger(c.netns, &c.own, func(m transactions.Message) bool {
		if m.Family != unix.NFPROTO_IPV4 && m.Family != unix.NFPROTO_IPV6 || !slices.Contains(tables, m.Name(unix.NFTA_TABLE_NAME)) {
			return false
		}
		switch m.Kind {
		case unix.NFT_MSG_NEWCHAIN, unix.NFT_MSG_DELCHAIN:
			return ours(m.Name(unix.NFTA_CHAIN_NAME))
		case unix.NFT_MSG_NEWRULE, unix.NFT_MSG_DELRULE:
			return ours(m.Name(unix.NFTA_RULE_CHAIN)) || ours(jumpOf(expressionsOf(m.Attributes)))
		case unix.NFT_MSG_NEWSET, unix.NFT_MSG_DELSET, unix.NFT_MSG_NEWSETELEM, unix.NFT_MSG_DELSETELEM:
			return false // of others' rules
		}
		return true
	})
}

// expressionsOf finds them in the attributes of a rule.
func expressionsOf(message []byte) (expressions []byte) {
	for a := range nfnetlink.Attributes(message) {
		if a.Kind == unix.NFTA_RULE_EXPRESSIONS {
			expressions = a.Value
		}
	}
	return expressions
}
