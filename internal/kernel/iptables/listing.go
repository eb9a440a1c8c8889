// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"encoding/binary"
	"errors"
	"slices"

	"golang.org/x/sys/unix"

	"eastwest/internal/kernel/nfnetlink"
)

// errUnknown says that a rule has a shape that only the programs know.
var errUnknown = errors.New("a rule that only iptables-save reads")

// listed asks the kernel of the thread's network namespace. It is asked for the rules of each chain: to go on with those of a whole
// table, the kernel begins anew and skips what it has sent, which takes time that grows with the square of them.
func listed(family Family, tables []string, wanted func(string) bool) (map[Chain][]string, error) {
	k, err := nfnetlink.Dial()
	if err != nil {
		return nil, err
	}
	defer k.Close()
	var all []Chain
	err = k.Dump(about(family, unix.NFT_MSG_GETCHAIN, nil), func(message []byte) error {
		var c Chain
		for a := range nfnetlink.Attributes(message) {
			switch a.Kind {
			case unix.NFTA_CHAIN_TABLE:
				c.Table = text(a.Value)
			case unix.NFTA_CHAIN_NAME:
				c.Name = text(a.Value)
			}
		}
		if slices.Contains(tables, c.Table) {
			all = append(all, c)
		}
		return nil
	})
	out := make(map[Chain][]string, len(all))
	for _, c := range all {
		if err != nil {
			return nil, err
		}
		whole := wanted == nil || wanted(c.Name)
		var rules []string
		if rules, err = rulesOf(k, family, c, whole, wanted); whole || len(rules) > 0 {
			out[c] = rules
		}
	}
	return out, err
}

func about(family Family, operation uint8, attributes []byte) nfnetlink.Request {
	kind := uint8(unix.NFPROTO_IPV4)
	if family == IPv6 {
		kind = unix.NFPROTO_IPV6
	}
	return nfnetlink.Request{Subsystem: unix.NFNL_SUBSYS_NFTABLES, Operation: operation, Family: kind, Attributes: attributes}
}

func rulesIn(family Family, c Chain) nfnetlink.Request {
	return about(family, unix.NFT_MSG_GETRULE, nfnetlink.Named(nfnetlink.Named(nil, unix.NFTA_RULE_TABLE, c.Table), unix.NFTA_RULE_CHAIN, c.Name))
}

// countRules returns how many rules a chain has; none is there where there is no such chain.
func countRules(k *nfnetlink.Conn, family Family, c Chain) (count int, err error) {
	err = k.Dump(rulesIn(family, c), func([]byte) error { count++; return nil })
	return count, err
}

// rulesOf returns those of a chain: all of them, or those that lead to chains that wanted names.
func rulesOf(k *nfnetlink.Conn, family Family, c Chain, whole bool, wanted func(string) bool) (out []string, err error) {
	err = k.Dump(rulesIn(family, c), func(message []byte) error {
		var expressions []byte
		for a := range nfnetlink.Attributes(message) {
			if a.Kind == unix.NFTA_RULE_EXPRESSIONS {
				expressions = a.Value
			}
		}
		if !whole && !wanted(jumpOf(expressions)) {
			return nil
		}
		rule, ok := ruleOf(family, expressions)
		if !ok {
			return errUnknown
		}
		out = append(out, rule)
		return nil
	})
	return out, err
}

// text returns a name without the byte that ends it.
func text(value []byte) string {
	for i, b := range value {
		if b == 0 {
			return string(value[:i])
		}
	}
	return string(value)
}

// number reads what nftables writes in network order.
func number(value []byte) (uint32, bool) {
	if len(value) != 4 {
		return 0, false
	}
	return binary.BigEndian.Uint32(value), true
}
