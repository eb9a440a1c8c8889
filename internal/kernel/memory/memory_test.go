// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"os"
	"testing"
)

// The program goes on, with less of its file in memory.
func TestForgetProgram(t *testing.T) {
	before := ofProgram(t)
	freed, err := ForgetProgram()
	if err != nil {
		t.Fatal(err)
	}
	if after := ofProgram(t); freed == 0 || after >= before {
		t.Errorf("%d bytes of the program were resident, %d are; %d were said to be freed", before, after, freed)
	}
}

func ofProgram(t *testing.T) (sum int) {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range parse(text) {
		if m.path == path && !m.writable {
			sum += m.resident
		}
	}
	return sum
}

// Pages that were written to, as those that a loader relocates, are nowhere but in memory.
func TestWhatWasWrittenToIsKept(t *testing.T) {
	all := parse([]byte(`00400000-01475000 r-xp 00000000 fe:00 9978226                            /opt/a program
Size:              16852 kB
Rss:               12544 kB
Shared_Dirty:          0 kB
Private_Dirty:         0 kB
Anonymous:             0 kB
01475000-0266a000 r--p 01075000 fe:00 9978226                            /opt/a program
Rss:                  20 kB
Private_Dirty:         4 kB
Anonymous:             4 kB
5d2a2800000-5d2a3800000 rw-p 00000000 00:00 0 
Rss:                8952 kB
`))
	want := []mapping{
		{start: 0x400000, end: 0x1475000, path: "/opt/a program", resident: 12544 << 10},
		{start: 0x1475000, end: 0x266a000, path: "/opt/a program", resident: 20 << 10, changed: true},
		{start: 0x5d2a2800000, end: 0x5d2a3800000, writable: true, resident: 8952 << 10},
	}
	if len(all) != len(want) {
		t.Fatalf("got %+v", all)
	}
	for i := range want {
		if all[i] != want[i] {
			t.Errorf("got %+v, want %+v", all[i], want[i])
		}
	}
}
