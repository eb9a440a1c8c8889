// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"hash/maphash"
	"maps"
	"sync/atomic"
)

const indexShards = 1024

// index is a map that is read without locks. A change copies the shards that it touches, so its cost does not depend on
// how much the index holds. One writer at a time.
type index[V any] struct {
	seed  maphash.Seed
	shard [indexShards]atomic.Pointer[map[string]V]
}

func newIndex[V any]() *index[V] { return &index[V]{seed: maphash.MakeSeed()} }

// get looks a key up. It does not keep key.
func (x *index[V]) get(key []byte) (V, bool) {
	if m := x.shard[maphash.Bytes(x.seed, key)%indexShards].Load(); m != nil {
		v, ok := (*m)[string(key)]
		return v, ok
	}
	var none V
	return none, false
}

// all calls f with every entry, in no order.
func (x *index[V]) all(f func(key string, v V)) {
	for i := range x.shard {
		if m := x.shard[i].Load(); m != nil {
			for k, v := range *m {
				f(k, v)
			}
		}
	}
}

// edit begins a change. Readers see nothing of it before commit.
func (x *index[V]) edit() *indexEdit[V] {
	return &indexEdit[V]{index: x, touched: map[uint64]map[string]V{}}
}

type indexEdit[V any] struct {
	index   *index[V]
	touched map[uint64]map[string]V
}

func (e *indexEdit[V]) own(key string) map[string]V {
	i := maphash.String(e.index.seed, key) % indexShards
	m, ok := e.touched[i]
	if !ok {
		if old := e.index.shard[i].Load(); old != nil {
			m = maps.Clone(*old)
		} else {
			m = map[string]V{}
		}
		e.touched[i] = m
	}
	return m
}

func (e *indexEdit[V]) get(key string) (V, bool) {
	v, ok := e.own(key)[key]
	return v, ok
}

func (e *indexEdit[V]) set(key string, v V) { e.own(key)[key] = v }

func (e *indexEdit[V]) delete(key string) { delete(e.own(key), key) }

func (e *indexEdit[V]) commit() {
	for i, m := range e.touched {
		if len(m) == 0 {
			e.index.shard[i].Store(nil)
			continue
		}
		e.index.shard[i].Store(&m)
	}
}
