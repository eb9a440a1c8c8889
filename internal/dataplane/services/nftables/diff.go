// SPDX-License-Identifier: Apache-2.0

package nftables

import (
	"cmp"
	"encoding/binary"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"eastwest/internal/kernel/nft"
	"eastwest/internal/table"
)

// diff returns the operations that turn have into want, in an order in which packets find a whole service after every
// one of them: endpoints appear before the number that counts them and vanish after it.
func diff(family nft.Family, have, want map[place]value) []nft.Op {
	first, last := map[string]*nft.Op{}, map[string]*nft.Op{}
	at := func(ops map[string]*nft.Op, set string) *nft.Op {
		if ops[set] == nil {
			ops[set] = &nft.Op{Family: family, Table: TableName, Set: set}
		}
		return ops[set]
	}
	more := map[string]int{} // a full sync adds most of everything: lists grow once
	for p := range want {
		if _, had := have[p]; !had {
			more[p.set]++
		}
	}
	for set, n := range more {
		at(first, set).Add = make([]nft.Element, 0, n)
	}
	for p, v := range want {
		old, had := have[p]
		if had && old == v {
			continue
		}
		op := at(first, p.set)
		e := nft.Element{Key: p.key, Data: v.data, Comment: v.comment, KeyEnd: v.end}
		if !had {
			op.Add = append(op.Add, e)
			continue
		}
		// Replacements go to the front of both lists, so that their indexes agree.
		n := len(op.Delete)
		op.Delete = append(op.Delete, nft.Element{Key: p.key, KeyEnd: old.end})
		op.Add = append(op.Add, e)
		op.Add[n], op.Add[len(op.Add)-1] = op.Add[len(op.Add)-1], op.Add[n]
	}
	for p, v := range have {
		if _, ok := want[p]; !ok {
			ops := last
			if p.set == setAllowed {
				ops = first // the kernel takes no range that overlaps one that is still there
			}
			op := at(ops, p.set)
			op.Delete = append(op.Delete, nft.Element{Key: p.key, KeyEnd: v.end})
		}
	}
	return append(inOrder(first, rank), inOrder(last, func(set string) int { return -rank(set) })...)
}

// settle adds the elements of a row to wanted, or, when all are there, takes them out of have: at most starts those are all rows,
// and nothing of them needs to be compared once more.
func settle(row, have, wanted map[place]value) {
	there := true
	for p, v := range row {
		if old, ok := have[p]; !shared(p.set) && (!ok || old != v) {
			there = false
			break
		}
	}
	for p, v := range row {
		if there && !shared(p.set) {
			delete(have, p)
			continue
		}
		wanted[p] = v
	}
}

// shared says that several services may have one element of a set.
func shared(set string) bool { return set == setAddress || set == setHairpin }

// rank orders the sets for adding: what frontends refer to comes first.
func rank(set string) int {
	switch {
	case strings.HasSuffix(set, endpointSuffix), set == setAllowed:
		return 0
	case set == setHairpin, set == setRanged, set == setElsewhere:
		return 1
	case set == setAddress:
		return 3 // after the frontends: an address whose ports are not there yet would be refused
	}
	return 2
}

func inOrder(ops map[string]*nft.Op, rank func(string) int) []nft.Op {
	names := slices.SortedFunc(maps.Keys(ops), func(a, b string) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a, b))
	})
	out := make([]nft.Op, 0, len(names))
	for _, name := range names {
		op := *ops[name]
		if name == setAllowed { // all ranges that go, before any that comes
			gone := op
			gone.Add, op.Delete = nil, nil
			out = append(out, gone)
		}
		out = append(out, op)
	}
	return out
}

// addrLen is how many bytes of a group's key are the address.
func addrLen(family nft.Family, group string) int {
	if strings.HasSuffix(group, byNodePort.String()) {
		return 0
	}
	return addrBytes(family)
}

func frontendOf(family nft.Family, group, key string) netip.AddrPort {
	n := addrLen(family, group)
	port := binary.BigEndian.Uint16([]byte(key[n+4:]))
	addr, ok := netip.AddrFromSlice([]byte(key[:n]))
	if !ok {
		addr = netip.IPv4Unspecified()
		if family == nft.IPv6 {
			addr = netip.IPv6Unspecified()
		}
	}
	return netip.AddrPortFrom(addr, port)
}

func addrPort(family nft.Family, data string) netip.AddrPort {
	n := addrLen(family, "")
	addr, _ := netip.AddrFromSlice([]byte(data[:n]))
	return netip.AddrPortFrom(addr, binary.BigEndian.Uint16([]byte(data[n:])))
}

func hairpins(s table.Service, family nft.Family) iter.Seq[place] {
	return func(yield func(place) bool) {
		for _, addr := range s.Hairpin {
			bytes := string(addr.AsSlice())
			if of(family, addr) && !yield(place{setHairpin, bytes + bytes}) {
				return
			}
		}
	}
}
