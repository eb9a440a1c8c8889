// SPDX-License-Identifier: Apache-2.0

package iptables

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"eastwest/internal/kernel/nfnetlink"
)

// errUnknown says that a rule has a shape that only the programs know.
var errUnknown = errors.New("a rule that only iptables-save reads")

// askers is how many sockets ask: more than half of the time is the kernel's, which answers them at once.
const askers = 2

// listed asks the kernel. It is asked for the rules of each chain: to go on with those of a whole table, the kernel begins anew and
// skips what it has sent, which takes time that grows with the square of them.
func (c *Conn) listed(ctx context.Context, family Family, tables []string, wanted func(string) bool) (map[Chain][]string, error) {
	var all []Chain
	err := c.do(func() (err error) {
		all, err = chainsOf(family, tables)
		return err
	})
	if err != nil {
		return nil, err
	}
	rules := make([][]string, len(all))
	var next atomic.Int64
	var asking errgroup.Group
	for range askers {
		asking.Go(func() error {
			return c.do(func() error { return ask(ctx, family, all, rules, &next, wanted) })
		})
	}
	if err := asking.Wait(); err != nil {
		return nil, err
	}
	out := make(map[Chain][]string, len(all))
	for i, chain := range all {
		if len(rules[i]) > 0 || whole(chain, wanted) {
			out[chain] = rules[i]
		}
	}
	return out, nil
}

// ask asks for the rules of some chains at a time until nobody has to ask for any.
func ask(ctx context.Context, family Family, all []Chain, rules [][]string, next *atomic.Int64, wanted func(string) bool) error {
	const together = 64
	k, err := nfnetlink.Dial()
	if err != nil {
		return err
	}
	defer k.Close()
	for {
		begin := int(next.Add(together)) - together
		if begin >= len(all) || ctx.Err() != nil {
			return ctx.Err()
		}
		for i := begin; i < min(begin+together, len(all)); i++ {
			if rules[i], err = rulesOf(k, family, all[i], wanted); err != nil {
				return err
			}
		}
	}
}

// whole reports whether all rules of a chain are wanted.
func whole(chain Chain, wanted func(string) bool) bool { return wanted == nil || wanted(chain.Name) }

// chainsOf returns the chains of some tables.
func chainsOf(family Family, tables []string) (all []Chain, err error) {
	k, err := nfnetlink.Dial()
	if err != nil {
		return nil, err
	}
	defer k.Close()
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
	return all, err
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

// rulesOf returns those of a chain that are wanted: all of them, or those that lead to chains that are.
func rulesOf(k *nfnetlink.Conn, family Family, c Chain, wanted func(string) bool) (out []string, err error) {
	all := whole(c, wanted)
	err = k.Dump(rulesIn(family, c), func(message []byte) error {
		expressions := expressionsOf(message)
		if !all && !wanted(jumpOf(expressions)) {
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
func text(value []byte) string { return string(cut(value)) }

func cut(value []byte) []byte {
	if end := bytes.IndexByte(value, 0); end >= 0 {
		return value[:end]
	}
	return value
}

// number reads what nftables writes in network order.
func number(value []byte) (uint32, bool) {
	if len(value) != 4 {
		return 0, false
	}
	return binary.BigEndian.Uint32(value), true
}
