// SPDX-License-Identifier: Apache-2.0

package transactions

import (
	"math"
	"testing"
)

// A process that has the number of a program that ended is another one.
func TestProgramsAreKnownWhileTheyRun(t *testing.T) {
	w := Writers{programs: []window{{port: 7, from: math.MaxUint32 - 1, to: 3, ended: true}, {port: 8, from: 5}}}
	w.add(9)
	for _, c := range []struct {
		port, generation uint32
		want             bool
	}{
		{7, math.MaxUint32 - 1, false}, {7, math.MaxUint32, true}, {7, 1, true}, {7, 3, true}, {7, 4, false},
		{8, 5, false}, {8, 6, true}, {8, 1000, true}, {9, 1, true}, {10, 2, false},
	} {
		if have := w.Wrote(c.port, c.generation); have != c.want {
			t.Errorf("socket %d at transaction %d is its own: %t", c.port, c.generation, have)
		}
	}
	for range 3 * programsKnown {
		w.forget()
		w.programs = append(w.programs, window{port: 11, ended: true})
	}
	if len(w.programs) > programsKnown || !w.Wrote(8, 6) {
		t.Errorf("of %d programs the one that runs was forgotten", len(w.programs))
	}
}
