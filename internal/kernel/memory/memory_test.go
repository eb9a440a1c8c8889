// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"unsafe"
)

// kept keeps what the test allocates alive.
var kept []*[64 << 10]byte

// What is allocated afterwards lies in memory that the kernel may back with huge pages ("hg" among VmFlags), and asking
// for much makes little resident.
func TestHeapGrowsIntoHugePages(t *testing.T) {
	if _, err := os.Stat("/sys/kernel/mm/transparent_hugepage"); err != nil {
		t.Skip("this kernel has no transparent huge pages")
	}
	before := resident(t, "VmRSS")
	if err := ReserveHuge(64 << 20); err != nil {
		t.Fatal(err)
	}
	if grown := resident(t, "VmRSS") - before; grown > 16<<10 {
		t.Errorf("reserving made %d KiB resident", grown)
	}
	inside := 0
	for range 256 {
		kept = append(kept, new([64 << 10]byte))
		if eligible(t, uintptr(unsafe.Pointer(kept[len(kept)-1]))) {
			inside++
		}
	}
	if inside < 200 {
		t.Errorf("%d of 256 blocks may be in huge pages", inside)
	}
}

// resident reads proc_pid_status(5).
func resident(t *testing.T, key string) int {
	t.Helper()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	kib, err := strconv.Atoi(regexp.MustCompile(key + `:\s+(\d+) kB`).FindStringSubmatch(string(text))[1])
	if err != nil {
		t.Fatal(err)
	}
	return kib
}

// eligible reads proc_pid_smaps(5).
func eligible(t *testing.T, address uintptr) bool {
	t.Helper()
	text, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	mapping := regexp.MustCompile(`^([0-9a-f]+)-([0-9a-f]+) `)
	inside := false
	for line := range strings.Lines(string(text)) {
		if m := mapping.FindStringSubmatch(line); m != nil {
			first, _ := strconv.ParseUint(m[1], 16, 64)
			last, _ := strconv.ParseUint(m[2], 16, 64)
			inside = uint64(address) >= first && uint64(address) < last
		}
		if inside && strings.HasPrefix(line, "VmFlags:") {
			return strings.Contains(line, " hg")
		}
	}
	return false
}
