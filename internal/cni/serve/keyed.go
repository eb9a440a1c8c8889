// SPDX-License-Identifier: Apache-2.0

package serve

import "sync"

// keyed is a lock for each key. The zero keyed has none locked.
type keyed struct {
	mu   sync.Mutex
	held map[string]*held
}

type held struct {
	sync.Mutex
	users int // who have it or wait for it
}

// lock waits until nobody has key, and returns what gives it back.
func (k *keyed) lock(key string) (unlock func()) {
	k.mu.Lock()
	h := k.held[key]
	if h == nil {
		if k.held == nil {
			k.held = map[string]*held{}
		}
		h = &held{}
		k.held[key] = h
	}
	h.users++
	k.mu.Unlock()
	h.Lock()
	return func() {
		h.Unlock()
		k.mu.Lock()
		defer k.mu.Unlock()
		if h.users--; h.users == 0 {
			delete(k.held, key)
		}
	}
}
