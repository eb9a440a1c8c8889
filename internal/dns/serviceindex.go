// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"hash/maphash"
	"sync/atomic"
)

// serviceIndex finds services by key. In a large cluster what a look-up costs is cache lines that are far away, so there is
// one of the index, and those of the service itself. Readers take no lock; one writer at a time.
type serviceIndex struct {
	seed  maphash.Seed
	table atomic.Pointer[serviceTable]
}

// serviceTable is a hash table with open addressing. A slot that was taken is never empty again: whoever looks for another
// key goes past it.
type serviceTable struct {
	slots []serviceSlot // a power of two, of which at most two thirds are used
	used  int           // slots that are not empty
	live  int           // of those, services
}

type serviceSlot struct {
	hash    atomic.Uint64 // written before the service; 0 while empty
	service atomic.Pointer[service]
}

const leastSlots = 64

func newServiceIndex() *serviceIndex {
	x := &serviceIndex{seed: maphash.MakeSeed()}
	x.table.Store(&serviceTable{slots: make([]serviceSlot, leastSlots)})
	return x
}

func (x *serviceIndex) hash(key string) uint64 { return maphash.String(x.seed, key) | 1 }

// get looks a key up. It does not keep key.
func (x *serviceIndex) get(key string) (*service, bool) {
	slot, found := x.table.Load().find(x.hash(key), key)
	if !found {
		return nil, false
	}
	s := slot.service.Load()
	return s, s != nil
}

// find returns the slot of a key, or the empty one that it would take.
func (t *serviceTable) find(hash uint64, key string) (slot *serviceSlot, found bool) {
	mask := uint64(len(t.slots) - 1)
	for at := hash >> 1 & mask; ; at = (at + 1) & mask {
		slot = &t.slots[at]
		switch slot.hash.Load() {
		case 0:
			return slot, false
		case hash:
			if s := slot.service.Load(); s != nil && s.key == key {
				return slot, true
			}
		}
	}
}

// all calls f with every service, in no order.
func (x *serviceIndex) all(f func(key string, s *service)) {
	t := x.table.Load()
	for i := range t.slots {
		if s := t.slots[i].service.Load(); s != nil {
			f(s.key, s)
		}
	}
}

// edit begins a change. Readers see nothing of it before commit.
func (x *serviceIndex) edit() *serviceEdit {
	return &serviceEdit{index: x, changed: map[string]*service{}}
}

type serviceEdit struct {
	index   *serviceIndex
	changed map[string]*service // nil where one is taken away
}

func (e *serviceEdit) get(key string) (*service, bool) {
	if s, ok := e.changed[key]; ok {
		return s, s != nil
	}
	return e.index.get(key)
}

func (e *serviceEdit) set(key string, s *service) { e.changed[key] = s }

func (e *serviceEdit) delete(key string) { e.changed[key] = nil }

func (e *serviceEdit) commit() {
	t := e.index.table.Load()
	if 3*(t.used+len(e.changed)) > 2*len(t.slots) {
		e.rebuild(t)
		return
	}
	for key, s := range e.changed {
		t.put(e.index.hash(key), key, s)
	}
}

// put changes what a key has. The service that it had gives way in one step.
func (t *serviceTable) put(hash uint64, key string, s *service) {
	slot, found := t.find(hash, key)
	switch {
	case found:
		slot.service.Store(s)
		if s == nil {
			t.live--
		}
	case s != nil:
		slot.service.Store(s)
		slot.hash.Store(hash)
		t.used++
		t.live++
	}
}

// rebuild makes a table with room for as many again, without the slots of services that are gone.
func (e *serviceEdit) rebuild(old *serviceTable) {
	size := leastSlots
	for size < 2*(old.live+len(e.changed)) {
		size *= 2
	}
	next := &serviceTable{slots: make([]serviceSlot, size)}
	for i := range old.slots {
		if s := old.slots[i].service.Load(); s != nil {
			if _, changed := e.changed[s.key]; !changed {
				next.put(old.slots[i].hash.Load(), s.key, s)
			}
		}
	}
	for key, s := range e.changed {
		next.put(e.index.hash(key), key, s)
	}
	e.index.table.Store(next)
}
