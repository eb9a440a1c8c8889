// SPDX-License-Identifier: Apache-2.0

package dns

// numberSet holds the port numbers that were written for one target: two ports of one number, as 53/UDP and 53/TCP, are
// one SRV record. A bitmap of the ports would be 8 KiB; services have few.
type numberSet struct {
	few  [16]uint16
	n    int
	many map[uint16]bool
}

// add reports whether the number is new.
func (s *numberSet) add(number uint16) bool {
	for _, have := range s.few[:s.n] {
		if have == number {
			return false
		}
	}
	if s.n < len(s.few) {
		s.few[s.n] = number
		s.n++
		return true
	}
	if s.many[number] {
		return false
	}
	if s.many == nil {
		s.many = map[uint16]bool{}
	}
	s.many[number] = true
	return true
}

func (s *numberSet) clear() { s.n, s.many = 0, nil }
