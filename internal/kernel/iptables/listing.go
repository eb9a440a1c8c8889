// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"encoding/binary"
	"errors"
	"iter"
	"slices"

	"golang.org/x/sys/unix"
)

// errUnknown says that a rule has a shape that only the programs know.
var errUnknown = errors.New("a rule that only iptables-save reads")

// listed asks the kernel of the thread's network namespace. It is asked for the rules of each chain: to go on with those of a whole
// table, the kernel begins anew and skips what it has sent, which takes time that grows with the square of them.
func listed(family Family, tables []string, wanted func(string) bool) (map[Chain][]string, error) {
	k, err := dial()
	if err != nil {
		return nil, err
	}
	defer k.close()
	var all []Chain
	err = k.dump(family, unix.NFT_MSG_GETCHAIN, nil, func(message []byte) error {
		var c Chain
		for a := range attributes(message) {
			switch a.kind {
			case unix.NFTA_CHAIN_TABLE:
				c.Table = text(a.value)
			case unix.NFTA_CHAIN_NAME:
				c.Name = text(a.value)
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
		if rules, err = k.rules(family, c, whole, wanted); whole || len(rules) > 0 {
			out[c] = rules
		}
	}
	return out, err
}

// rules returns those of a chain: all of them, or those that lead to chains that wanted names.
func (k *kernel) rules(family Family, c Chain, whole bool, wanted func(string) bool) (out []string, err error) {
	asked := append(named(unix.NFTA_RULE_TABLE, c.Table), named(unix.NFTA_RULE_CHAIN, c.Name)...)
	err = k.dump(family, unix.NFT_MSG_GETRULE, asked, func(message []byte) error {
		var expressions []byte
		for a := range attributes(message) {
			if a.kind == unix.NFTA_RULE_EXPRESSIONS {
				expressions = a.value
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

// attribute is one of netlink.
type attribute struct {
	kind  uint16
	value []byte
}

// attributes yields what is well formed, and ends where it is not.
func attributes(data []byte) iter.Seq[attribute] {
	return func(yield func(attribute) bool) {
		for len(data) >= unix.NLA_HDRLEN {
			length := int(binary.NativeEndian.Uint16(data))
			if length < unix.NLA_HDRLEN || length > len(data) {
				return
			}
			kind := binary.NativeEndian.Uint16(data[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
			if !yield(attribute{kind, data[unix.NLA_HDRLEN:length]}) {
				return
			}
			data = data[min((length+3)&^3, len(data)):]
		}
	}
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
