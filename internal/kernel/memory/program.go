// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// UnmapProgram lets go of the pages of code and tables that the start ran through once: most of a large program. They
// are the file's, unchanged, so what is used again is mapped again (madvise(2), MADV_DONTNEED).
func UnmapProgram() error {
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("find the program: %w", err)
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return fmt.Errorf("list mappings: %w", err)
	}
	for line := range strings.Lines(string(maps)) {
		var first, last uintptr
		var access string
		line = strings.TrimSuffix(line, "\n")
		if _, err := fmt.Sscanf(line, "%x-%x %s", &first, &last, &access); err != nil {
			return fmt.Errorf("read mapping %q: %w", line, err)
		}
		// Writable pages hold changes that the file does not have.
		if !strings.HasSuffix(line, " "+program) || strings.Contains(access, "w") {
			continue
		}
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, first, last-first, unix.MADV_DONTNEED); errno != 0 {
			return fmt.Errorf("let go of mapping %x-%x: %w", first, last, errno)
		}
	}
	return nil
}
