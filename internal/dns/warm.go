// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"bytes"
	"unsafe"

	"eastwest/internal/dns/wire"
)

// In a large cluster a query's time goes with waiting for memory: the index's slot, the service it leads to, and that one's
// records, each of which says where the next one is. The queries of a batch wait for theirs all at once.

// warmFrom is how many slots an index has that no processor's cache holds.
const warmFrom = 1 << 13

// warmth is the memory that warming takes.
type warmth struct {
	slots    [batchSize]*serviceSlot
	services [batchSize]*service
	sink     byte
}

// warm touches what queries for services' own names will need. A name that is spelt otherwise is passed over: this is
// about time alone.
func (z *Zone) warm(w *warmth, packet func(i int) []byte, n int) {
	rec := z.records.Load()
	if rec == nil || n < 2 {
		return
	}
	t := rec.services.table.Load()
	if len(t.slots) < warmFrom {
		return
	}
	mask, found := uint64(len(t.slots)-1), 0
	for i := range n {
		if key := z.serviceKey(packet(i)); key != nil {
			w.slots[found] = &t.slots[rec.services.hash(borrowed(key))>>1&mask]
			found++
		}
	}
	for i, slot := range w.slots[:found] {
		w.services[i] = slot.service.Load()
	}
	for _, s := range w.services[:found] {
		if s != nil {
			w.sink ^= *unsafe.StringData(s.key)
		}
	}
}

// serviceKey returns the name and namespace in a query for a service's own name, or nil.
func (z *Zone) serviceKey(packet []byte) []byte {
	const first = wire.HeaderLen
	if len(packet) <= first {
		return nil
	}
	second := first + 1 + int(packet[first])
	if second >= len(packet) {
		return nil
	}
	end := second + 1 + int(packet[second])
	if end > len(packet) || !bytes.HasPrefix(packet[end:], z.services) {
		return nil
	}
	return packet[first:end]
}
