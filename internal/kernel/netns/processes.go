// SPDX-License-Identifier: Apache-2.0

package netns

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// Processes returns the ids of the processes in each of some namespaces, sorted, as `ip netns pids` does: one look at
// every process for all of them. A path that is no namespace any more has none.
func Processes(paths []string) (map[string][]int, error) {
	type inode struct{ dev, ino uint64 }
	wanted := map[inode]string{}
	for _, path := range paths {
		var s unix.Stat_t
		if unix.Stat(path, &s) == nil {
			wanted[inode{s.Dev, s.Ino}] = path
		}
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	found := map[string][]int{}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		var s unix.Stat_t
		if unix.Stat(filepath.Join("/proc", entry.Name(), "ns/net"), &s) != nil {
			continue // it has ended
		}
		if path, ok := wanted[inode{s.Dev, s.Ino}]; ok {
			found[path] = append(found[path], pid)
		}
	}
	for _, list := range found {
		slices.Sort(list)
	}
	return found, nil
}
