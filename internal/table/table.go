// SPDX-License-Identifier: Apache-2.0

// Package table holds the rows that the pipeline passes from compile to the dataplanes, and the immutable tables that
// carry them. Every row says which API object made it and prints itself.
package table

import (
	"hash/maphash"
	"iter"
	"maps"
	"slices"
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

const shards = 256

var seed = maphash.MakeSeed()

// Table is an immutable set of rows by key. With makes a new table that shares unchanged rows and shards with the old
// one, so that its cost follows the change and not the size. The zero Table is empty. Rows must not be modified once
// they are in a table.
type Table[R any] struct {
	shard *[shards]map[string]R
	size  int
}

// Len returns the number of rows.
func (t Table[R]) Len() int { return t.size }

// Get returns the row of a key.
func (t Table[R]) Get(key string) (R, bool) {
	if t.shard == nil {
		var none R
		return none, false
	}
	row, ok := t.shard[shardOf(key)][key]
	return row, ok
}

// All yields every row, in no order.
func (t Table[R]) All() iter.Seq2[string, R] {
	return func(yield func(string, R) bool) {
		if t.shard == nil {
			return
		}
		for _, shard := range t.shard {
			for key, row := range shard {
				if !yield(key, row) {
					return
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

// With returns the table with the rows of set added or replaced and the keys of remove taken out; a key in both is set.
func (t Table[R]) With(set map[string]R, remove ...string) Table[R] {
	next := Table[R]{shard: new([shards]map[string]R), size: t.size}
	if t.shard != nil {
		*next.shard = *t.shard
	}
	var owned [shards]bool
	own := func(key string) map[string]R {
		i := shardOf(key)
		if !owned[i] {
			owned[i] = true
			next.shard[i] = maps.Clone(next.shard[i])
			if next.shard[i] == nil {
				next.shard[i] = map[string]R{}
			}
		}
		return next.shard[i]
	}
	for _, key := range remove {
		shard := own(key)
		if _, ok := shard[key]; ok {
			delete(shard, key)
			next.size--
		}
	}
	for key, row := range set {
		shard := own(key)
		if _, ok := shard[key]; !ok {
			next.size++
		}
		shard[key] = row
	}
	return next
}

func shardOf(key string) int { return int(maphash.String(seed, key) % shards) }
