// SPDX-License-Identifier: Apache-2.0

// Package table holds the rows that the pipeline passes from compile to the dataplanes, and the immutable tables that
// carry them. Every row says which API object made it and prints itself.
package table

import (
	"hash/maphash"
	"iter"
	"slices"
	"strings"
)

// Object names the API object that a row was made from.
type Object struct {
	Kind      string // as in the API: Service, Node
	Namespace string // empty for objects without a namespace
	Name      string
}

// String returns kind namespace/name, the way log lines and errors name an object.
func (o Object) String() string {
	if o.Namespace == "" {
		return o.Kind + " " + o.Name
	}
	return o.Kind + " " + o.Namespace + "/" + o.Name
}

// Keys names the rows of a table that may differ from the last one that was applied.
type Keys struct {
	All   bool     // every row: at start, after an error, on resync
	Names []string // otherwise these, in no order
}

// A table is a tree of two levels over the hashes of keys: a change copies a branch and a leaf, which with 44,000 rows are
// 64 slices and some ten rows.
const (
	branches = 64
	leaves   = 64 // of a branch
)

var seed = maphash.MakeSeed()

// Table is an immutable set of rows by key. With makes a new table that shares unchanged rows with the old one, so that its
// cost follows the change and not the size. The zero Table is empty. Rows must not be modified once they are in a table.
type Table[R any] struct {
	branch *[branches]*branch[R]
	size   int
}

// branch has leaves, each sorted by key.
type branch[R any] [leaves][]entry[R]

type entry[R any] struct {
	key string
	row R
}

// find returns where a key is in a leaf, or would be.
func find[R any](leaf []entry[R], key string) (int, bool) {
	return slices.BinarySearchFunc(leaf, key, func(e entry[R], key string) int { return strings.Compare(e.key, key) })
}

// Len returns the number of rows.
func (t Table[R]) Len() int { return t.size }

// Get returns the row of a key.
func (t Table[R]) Get(key string) (R, bool) {
	at := placeOf(key)
	if t.branch != nil && t.branch[at/leaves] != nil {
		leaf := t.branch[at/leaves][at%leaves]
		if i, ok := find(leaf, key); ok {
			return leaf[i].row, true
		}
	}
	var none R
	return none, false
}

// All yields every row, in no order.
func (t Table[R]) All() iter.Seq2[string, R] {
	return func(yield func(string, R) bool) {
		if t.branch == nil {
			return
		}
		for _, b := range t.branch {
			if b == nil {
				continue
			}
			for _, leaf := range b {
				for _, e := range leaf {
					if !yield(e.key, e.row) {
						return
					}
				}
			}
		}
	}
}

// Keys returns every key, sorted.
func (t Table[R]) Keys() []string {
	keys := make([]string, 0, t.size)
	for key := range t.All() {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// edit is that of one key: it goes, or gets a row.
type edit struct {
	place int
	key   string
	gone  bool
}

// With returns the table with the rows of set added or replaced and the keys of remove taken out; a key in both is set.
func (t Table[R]) With(set map[string]R, remove ...string) Table[R] {
	edits := make([]edit, 0, len(set)+len(remove))
	for _, key := range remove {
		if _, both := set[key]; !both {
			edits = append(edits, edit{placeOf(key), key, true})
		}
	}
	for key := range set {
		edits = append(edits, edit{placeOf(key), key, false})
	}
	slices.SortFunc(edits, func(a, b edit) int {
		if a.place != b.place {
			return a.place - b.place
		}
		return strings.Compare(a.key, b.key)
	})
	next := Table[R]{branch: new([branches]*branch[R]), size: t.size}
	if t.branch != nil {
		*next.branch = *t.branch
	}
	var own *branch[R] // the branch that was copied last
	for begin, end := 0, 0; begin < len(edits); begin = end {
		place := edits[begin].place
		for end = begin; end < len(edits) && edits[end].place == place; end++ {
		}
		if begin == 0 || edits[begin-1].place/leaves != place/leaves {
			own = new(branch[R])
			if old := next.branch[place/leaves]; old != nil {
				*own = *old
			}
			next.branch[place/leaves] = own
		}
		leaf := merge(own[place%leaves], edits[begin:end], set)
		next.size += len(leaf) - len(own[place%leaves])
		own[place%leaves] = leaf
	}
	return next
}

// merge returns a new leaf with edits of it, which are sorted by key; a key that is removed may be named twice.
func merge[R any](leaf []entry[R], edits []edit, rows map[string]R) []entry[R] {
	grown := 0
	for _, e := range edits {
		if _, there := find(leaf, e.key); !there && !e.gone {
			grown++
		}
	}
	out := make([]entry[R], 0, len(leaf)+grown)
	for _, e := range edits {
		at, there := find(leaf, e.key)
		out, leaf = append(out, leaf[:at]...), leaf[at:]
		if there {
			leaf = leaf[1:]
		}
		if !e.gone {
			out = append(out, entry[R]{e.key, rows[e.key]})
		}
	}
	return append(out, leaf...)
}

func placeOf(key string) int { return int(maphash.String(seed, key) % (branches * leaves)) }
