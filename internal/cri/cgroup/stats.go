// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Stats is what the processes of a group use and have used.
type Stats struct {
	CPUNanoseconds uint64 // since the group was made
	MemoryUsage    uint64 // bytes, with the file cache
	WorkingSet     uint64 // bytes that cannot be given back without harm: usage less inactive file cache
	RSS            uint64
	PageFaults     uint64
	MajorFaults    uint64
	MemoryLimit    uint64 // 0 for none
	Swap           uint64
	SwapLimit      uint64 // 0 for none
	Processes      uint64
}

// noLimit is what is above any real limit of version 1, which says "none" with the largest page-aligned number.
const noLimit = 1 << 62

// Stats reads a group's numbers; os.ErrNotExist when there is no such group.
func (h *Hierarchy) Stats(group string) (Stats, error) {
	var s Stats
	var err error
	if h.Unified() {
		s, err = statsV2(filepath.Join(h.v2, group))
	} else {
		s, err = h.statsV1(group)
	}
	if err != nil {
		return Stats{}, fmt.Errorf("read control group %s: %w", group, err)
	}
	return s, nil
}

func (h *Hierarchy) statsV1(group string) (Stats, error) {
	memory := filepath.Join(h.v1["memory"], group)
	usage, err := number(filepath.Join(memory, "memory.usage_in_bytes"))
	if err != nil {
		return Stats{}, err
	}
	stat, err := keyed(filepath.Join(memory, "memory.stat"))
	if err != nil {
		return Stats{}, err
	}
	s := Stats{
		MemoryUsage: usage, WorkingSet: less(usage, stat["total_inactive_file"]), RSS: stat["total_rss"],
		PageFaults: stat["total_pgfault"], MajorFaults: stat["total_pgmajfault"], Swap: stat["total_swap"],
	}
	if limit := stat["hierarchical_memory_limit"]; limit < noLimit {
		s.MemoryLimit = limit
	}
	if limit, ok := stat["hierarchical_memsw_limit"]; ok && limit < noLimit {
		s.SwapLimit = less(limit, s.MemoryLimit)
	}
	s.CPUNanoseconds, err = number(filepath.Join(h.v1["cpuacct"], group, "cpuacct.usage"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return Stats{}, err
	}
	s.Processes, _ = number(filepath.Join(h.v1["pids"], group, "pids.current"))
	return s, nil
}

func statsV2(dir string) (Stats, error) {
	cpu, err := keyed(filepath.Join(dir, "cpu.stat"))
	if err != nil {
		return Stats{}, err
	}
	s := Stats{CPUNanoseconds: cpu["usage_usec"] * 1000}
	stat, err := keyed(filepath.Join(dir, "memory.stat"))
	if errors.Is(err, os.ErrNotExist) {
		return s, nil // the memory controller is not enabled for this group
	}
	if err != nil {
		return Stats{}, err
	}
	s.MemoryUsage, _ = number(filepath.Join(dir, "memory.current"))
	s.WorkingSet, s.RSS = less(s.MemoryUsage, stat["inactive_file"]), stat["anon"]
	s.PageFaults, s.MajorFaults = stat["pgfault"], stat["pgmajfault"]
	s.MemoryLimit, _ = number(filepath.Join(dir, "memory.max"))
	s.Swap, _ = number(filepath.Join(dir, "memory.swap.current"))
	s.SwapLimit, _ = number(filepath.Join(dir, "memory.swap.max"))
	s.Processes, _ = number(filepath.Join(dir, "pids.current"))
	return s, nil
}

// less subtracts without going below zero.
func less(a, b uint64) uint64 {
	if b > a {
		return 0
	}
	return a - b
}

// number reads a file of one number; "max" is 0.
func number(path string) (uint64, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	text := strings.TrimSpace(string(raw))
	if text == "max" {
		return 0, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	return n, nil
}

// keyed reads a file of lines "key number".
func keyed(path string) (map[string]uint64, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	out := map[string]uint64{}
	for line := range strings.Lines(string(raw)) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if n, err := strconv.ParseUint(value, 10, 64); ok && err == nil {
			out[key] = n
		}
	}
	return out, nil
}
