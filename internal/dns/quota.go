// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"net/netip"
	"sync"
)

// quota shares a number of places among clients, so that one that floods takes none from the others.
type quota struct {
	mu    sync.Mutex
	total int
	one   int
	used  int
	by    map[netip.Addr]int
}

func newQuota(total, one int) *quota {
	return &quota{total: total, one: one, by: map[netip.Addr]int{}}
}

// take takes a place for a client; false if there is none for it.
func (q *quota) take(client netip.Addr) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.used >= q.total || q.by[client] >= q.one {
		return false
	}
	q.used++
	q.by[client]++
	return true
}

// release gives a place back.
func (q *quota) release(client netip.Addr) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.used--
	if q.by[client]--; q.by[client] <= 0 {
		delete(q.by, client)
	}
}
