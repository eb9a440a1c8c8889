// SPDX-License-Identifier: Apache-2.0

package suites

import (
	"slices"
	"strings"
	"testing"
)

const said = `
Ran 9 of 9 Specs in 1.0 seconds

Summarizing 3 Failures:
  [FAIL] bridge Operations [It] [0.1.0] cannot
  /source/bridge_test.go:1
  [FAIL] bridge Operations [It] [1.0.0] cannot
  /source/bridge_test.go:1
  [FAIL] bridge Operations [It] [1.0.0] is new
  /source/bridge_test.go:2
FAIL! -- 6 Passed | 3 Failed | 0 Pending | 0 Skipped
`

// A failure that is not listed is seen, and so is a spec that is listed and passes, or fails more often than it should.
func TestComplaints(t *testing.T) {
	o, err := read(said)
	if err != nil || o.ran != 9 {
		t.Fatalf("%d specs, %v", o.ran, err)
	}
	list := []spec{{name: "cannot", times: 2, why: "reason"}, {name: "is new", times: 1, why: "reason"}}
	for _, c := range []struct {
		known []spec
		want  []string // what the complaints speak of
	}{
		{list, nil},
		{list[:1], []string{"is new: failed"}},
		{append(slices.Clone(list), spec{name: "is mended"}), []string{"is mended: passes"}},
		{[]spec{{name: "cannot", times: 1}, list[1]}, []string{"listed as failing 1 times"}},
	} {
		got := o.complaints(c.known)
		if len(got) != len(c.want) || len(got) > 0 && !strings.Contains(got[0], c.want[0]) {
			t.Errorf("with %v: %q, want %q", c.known, got, c.want)
		}
	}
	if _, err := read("panic: it stopped"); err == nil {
		t.Error("a suite that stopped is taken for one that ended")
	}
}
