// SPDX-License-Identifier: Apache-2.0

package snapshot

import "eastwest/internal/table"

// staged is a table with changes that wait: whoever takes the table has all of them folded in at once. A first list is
// tens of thousands of changes, and each would copy a shard.
type staged[R any] struct {
	table table.Table[R]
	set   map[string]R
	gone  map[string]bool
}

func (s *staged[R]) get(key string) (R, bool) {
	if row, ok := s.set[key]; ok {
		return row, true
	}
	if s.gone[key] {
		var none R
		return none, false
	}
	return s.table.Get(key)
}

func (s *staged[R]) put(key string, row R) {
	if s.set == nil {
		s.set = map[string]R{}
	}
	s.set[key] = row
	delete(s.gone, key)
}

func (s *staged[R]) delete(key string) {
	if s.gone == nil {
		s.gone = map[string]bool{}
	}
	s.gone[key] = true
	delete(s.set, key)
}

// fold returns the table with all changes in it.
func (s *staged[R]) fold() table.Table[R] {
	if len(s.set)+len(s.gone) == 0 {
		return s.table
	}
	gone := make([]string, 0, len(s.gone))
	for key := range s.gone {
		gone = append(gone, key)
	}
	s.table = s.table.With(s.set, gone...)
	s.set, s.gone = nil, nil
	return s.table
}
