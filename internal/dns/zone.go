// SPDX-License-Identifier: Apache-2.0

package dns

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"eastwest/internal/dataplane"
	"eastwest/internal/dns/wire"
	"eastwest/internal/table"
)

// Zone answers for the names of the cluster. It is a dataplane: Apply prepares the rows that changed, and queries see
// each row either before or after, never half of it. Until the first Apply it knows nothing and says so (SERVFAIL).
type Zone struct {
	cfg      ZoneConfig
	domain   []byte // in wire form
	labels   int    // of domain
	services []byte // svc.DOMAIN in wire form
	records  atomic.Pointer[records]
	rows     atomic.Pointer[table.Table[table.Name]] // what the records were made from, for explanations
	serial   atomic.Uint32
	reverse  atomic.Pointer[[]netip.Prefix]
	applied  atomic.Int64 // when Apply last ended, in nanoseconds of Unix time

	mu sync.Mutex // one Apply or Remove at a time
}

var _ dataplane.Dataplane[table.Name] = (*Zone)(nil)

// records is everything that the zone knows.
type records struct {
	services   *serviceIndex
	namespaces *index[string, *namespace]
	reverse    *reverseIndex
}

// namespace exists while a service is in it or while its own row says so.
type namespace struct {
	services int
	row      bool
	object   table.Object
	pods     map[netip.Addr]bool // of verified pod records
}

// NewZone returns a zone without records. An invalid domain is an error.
func NewZone(cfg ZoneConfig) (*Zone, error) {
	cfg = cfg.withDefaults()
	domain, err := wire.Name(cfg.Domain)
	if err != nil {
		return nil, fmt.Errorf("read cluster domain: %w", err)
	}
	if len(domain) > 100 {
		return nil, fmt.Errorf("read cluster domain: %q leaves too little room for names below it", cfg.Domain)
	}
	switch cfg.Pods {
	case PodsDisabled, PodsInsecure, PodsVerified:
	default:
		return nil, fmt.Errorf("read pod mode: %q is none of disabled, insecure, verified", cfg.Pods)
	}
	z := &Zone{cfg: cfg, domain: domain, services: append([]byte("\x03svc"), domain...)}
	z.SetReverse(cfg.Reverse)
	z.rows.Store(new(table.Table[table.Name]))
	for i := 0; domain[i] != 0; i += 1 + int(domain[i]) {
		z.labels++
	}
	z.serial.Store(uint32(time.Now().Unix()))
	return z, nil
}

// SetReverse replaces the service and pod ranges, whose reverse names are never forwarded. The list must not be modified afterwards.
func (z *Zone) SetReverse(ranges []netip.Prefix) { z.reverse.Store(&ranges) }

// Ready reports whether a table was applied, so that a missing name is known to be missing.
func (z *Zone) Ready() bool { return z.records.Load() != nil }

// Apply makes the zone answer from want. A row that cannot be written in DNS is logged and left out; the others are
// applied, so Apply returns no error but that of ctx.
func (z *Zone) Apply(ctx context.Context, want table.Table[table.Name], changed table.Keys) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	z.rows.Store(&want)
	now := z.records.Load()
	if now == nil || changed.All {
		next := &records{newServiceIndex(), newNameIndex[*namespace](), newReverseIndex()}
		edit := next.edit()
		for key, row := range want.All() {
			z.replace(edit, key, row, true)
		}
		edit.commit()
		z.records.Store(next)
	} else {
		edit := now.edit()
		for _, key := range changed.Names {
			row, ok := want.Get(key)
			z.replace(edit, key, row, ok)
		}
		edit.commit()
	}
	z.serial.Add(1)
	z.applied.Store(time.Now().UnixNano())
	return nil
}

// Remove forgets every record: the zone answers SERVFAIL again.
func (z *Zone) Remove(context.Context) error {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.records.Store(nil)
	return nil
}
