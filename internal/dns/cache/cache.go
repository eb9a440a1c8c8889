// SPDX-License-Identifier: Apache-2.0

// Package cache keeps replies of other servers, prepared as wire bytes.
//
// An Entry is what follows the question in a reply, with the places of its TTLs, so that a hit is a copy and a few
// stores. The cache is bounded in entries and in bytes; expired entries stay for a while as a last resort (RFC 8767).
package cache

import (
	"hash/maphash"
	"sync"
	"time"
)

const shardCount = 64

// Config bounds a Cache. The zero value of a field means its default.
type Config struct {
	Entries  int           // default 10,000
	Bytes    int           // of all entries together; default 1 KiB an entry
	StaleFor time.Duration // how long an expired entry may still be used; default 1 h, negative for not at all
}

// Cache is a bounded map of entries that many goroutines use at once.
type Cache struct {
	seed     maphash.Seed
	entries  int // per shard
	bytes    int // per shard
	staleFor time.Duration
	shard    [shardCount]shard
}

type shard struct {
	mu      sync.RWMutex
	entries map[string]*Entry
	bytes   int
}

// New returns an empty cache.
func New(cfg Config) *Cache {
	if cfg.Entries <= 0 {
		cfg.Entries = 10_000
	}
	if cfg.Bytes <= 0 {
		cfg.Bytes = cfg.Entries << 10
	}
	if cfg.StaleFor == 0 {
		cfg.StaleFor = time.Hour
	}
	c := &Cache{
		seed:     maphash.MakeSeed(),
		entries:  max(1, cfg.Entries/shardCount),
		bytes:    max(1<<16, cfg.Bytes/shardCount),
		staleFor: cfg.StaleFor,
	}
	for i := range c.shard {
		c.shard[i].entries = map[string]*Entry{}
	}
	return c
}

// Get returns the entry of a key, or nil. It may be expired (Entry.Expired), but not for longer than the cache keeps
// stale entries. key is not kept.
func (c *Cache) Get(key []byte, now time.Time) *Entry {
	s := &c.shard[maphash.Bytes(c.seed, key)%shardCount]
	s.mu.RLock()
	e := s.entries[string(key)]
	s.mu.RUnlock()
	if e == nil || now.After(e.expires.Add(c.staleFor)) {
		return nil
	}
	return e
}

// Put stores an entry, in place of an older one, and evicts others if the cache is full.
func (c *Cache) Put(key []byte, e *Entry, now time.Time) {
	s := &c.shard[maphash.Bytes(c.seed, key)%shardCount]
	size := len(key) + e.size()
	if size > c.bytes {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.delete(string(key))
	for len(s.entries) > 0 && (len(s.entries) >= c.entries || s.bytes+size > c.bytes) {
		s.evict(now)
	}
	s.entries[string(key)] = e
	s.bytes += size
}

// Len returns the number of entries, expired ones included.
func (c *Cache) Len() int {
	n := 0
	for i := range c.shard {
		s := &c.shard[i]
		s.mu.RLock()
		n += len(s.entries)
		s.mu.RUnlock()
	}
	return n
}

// evict removes the least useful of a few entries: expired before fresh, then the one used least. Map iteration begins
// at random, so a flood of new names cannot choose whom it drives out.
func (s *shard) evict(now time.Time) {
	const sample = 8
	worst, seen := "", 0
	var worstEntry *Entry
	for key, e := range s.entries {
		if worstEntry == nil || e.lessUseful(worstEntry, now) {
			worst, worstEntry = key, e
		}
		if seen++; seen == sample {
			break
		}
	}
	s.delete(worst)
}

func (s *shard) delete(key string) {
	if e, ok := s.entries[key]; ok {
		s.bytes -= len(key) + e.size()
		delete(s.entries, key)
	}
}

// Clear forgets everything.
func (c *Cache) Clear() {
	for i := range c.shard {
		s := &c.shard[i]
		s.mu.Lock()
		s.entries, s.bytes = map[string]*Entry{}, 0
		s.mu.Unlock()
	}
}
