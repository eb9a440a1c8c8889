// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"hash/maphash"
	"maps"
	"sync/atomic"
	"unsafe"
)

const indexShards = 1024

// index is a map that is read without locks. A change copies the shards that it touches, so its cost does not depend on
// how much the index holds. One writer at a time.
type index[K comparable, V any] struct {
	hash  func(K) uint64
	shard [indexShards]atomic.Pointer[map[K]V]
}

// newNameIndex returns an index by labels in wire form.
func newNameIndex[V any]() *index[string, V] {
	seed := maphash.MakeSeed()
	return &index[string, V]{hash: func(key string) uint64 { return maphash.String(seed, key) }}
}

func newAddressIndex4[V any]() *index[[4]byte, V] {
	seed := maphash.MakeSeed()
	return &index[[4]byte, V]{hash: func(key [4]byte) uint64 { return maphash.Bytes(seed, key[:]) }}
}

// newAddressIndex returns an index by address.
func newAddressIndex[V any]() *index[[16]byte, V] {
	seed := maphash.MakeSeed()
	return &index[[16]byte, V]{hash: func(key [16]byte) uint64 { return maphash.Bytes(seed, key[:]) }}
}

// get looks a key up. It does not keep key.
func (x *index[K, V]) get(key K) (V, bool) {
	if m := x.shard[x.hash(key)%indexShards].Load(); m != nil {
		v, ok := (*m)[key]
		return v, ok
	}
	var none V
	return none, false
}

// borrowed returns bytes as a string without copying them, for a look-up that ends before the bytes change.
func borrowed(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// all calls f with every entry, in no order.
func (x *index[K, V]) all(f func(key K, v V)) {
	for i := range x.shard {
		if m := x.shard[i].Load(); m != nil {
			for k, v := range *m {
				f(k, v)
			}
		}
	}
}

// edit begins a change. Readers see nothing of it before commit.
func (x *index[K, V]) edit() *indexEdit[K, V] {
	return &indexEdit[K, V]{index: x, touched: map[uint64]map[K]V{}}
}

type indexEdit[K comparable, V any] struct {
	index   *index[K, V]
	touched map[uint64]map[K]V
}

func (e *indexEdit[K, V]) own(key K) map[K]V {
	i := e.index.hash(key) % indexShards
	m, ok := e.touched[i]
	if !ok {
		if old := e.index.shard[i].Load(); old != nil {
			m = maps.Clone(*old)
		} else {
			m = map[K]V{}
		}
		e.touched[i] = m
	}
	return m
}

func (e *indexEdit[K, V]) get(key K) (V, bool) {
	v, ok := e.own(key)[key]
	return v, ok
}

func (e *indexEdit[K, V]) set(key K, v V) { e.own(key)[key] = v }

func (e *indexEdit[K, V]) delete(key K) { delete(e.own(key), key) }

func (e *indexEdit[K, V]) commit() {
	for i, m := range e.touched {
		if len(m) == 0 {
			e.index.shard[i].Store(nil)
			continue
		}
		e.index.shard[i].Store(&m)
	}
}
