// SPDX-License-Identifier: Apache-2.0

// Package memory gives back memory of this process that the garbage collector knows nothing about.
package memory

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// ForgetProgram lets go of the pages of the program's own file. Most of what is resident of it was needed to start only; what
// is used again comes back from the file, or the page cache, by itself. It returns how many bytes were resident.
func ForgetProgram() (int, error) {
	path, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return 0, fmt.Errorf("give memory of the program back: %w", err)
	}
	text, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		return 0, fmt.Errorf("give memory of the program back: %w", err)
	}
	freed := 0
	for _, m := range parse(text) {
		if m.path != path || m.writable || m.changed {
			continue
		}
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, m.start, m.end-m.start, unix.MADV_DONTNEED); errno != 0 {
			return freed, fmt.Errorf("give memory of the program back: %w", errno)
		}
		freed += m.resident
	}
	return freed, nil
}

// mapping is a part of the address space.
type mapping struct {
	start, end uintptr
	writable   bool
	path       string
	resident   int
	changed    bool // pages differ from the file: they exist nowhere else
}

// parse reads /proc/PID/smaps.
func parse(text []byte) (all []mapping) {
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Scan() {
		line := lines.Text()
		var m mapping
		var access, offset, device string
		var inode uint64
		if n, _ := fmt.Sscanf(line, "%x-%x %s %s %s %d", &m.start, &m.end, &access, &offset, &device, &inode); n == 6 {
			m.writable = strings.Contains(access, "w")
			if at := strings.IndexByte(line, '/'); at >= 0 {
				m.path = line[at:]
			}
			all = append(all, m)
			continue
		}
		if len(all) == 0 {
			continue
		}
		last, kilobytes := &all[len(all)-1], 0
		switch name, value, _ := strings.Cut(line, ":"); name {
		case "Rss":
			_, _ = fmt.Sscan(value, &kilobytes)
			last.resident = kilobytes << 10
		case "Anonymous": // unlike "Dirty", which a file that was just written is as well
			_, _ = fmt.Sscan(value, &kilobytes)
			last.changed = last.changed || kilobytes > 0
		}
	}
	return all
}
