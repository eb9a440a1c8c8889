// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Accounting is what the kernel counts of a group beyond Stats, and what the group is limited to. What the kernel's
// version or the hierarchy's does not count is 0.
type Accounting struct {
	CPUUser, CPUSystem        uint64 // microseconds
	Periods, ThrottledPeriods uint64 // of the bandwidth limit
	Throttled                 uint64 // microseconds

	Cache, Mapped, Kernel, Swap uint64 // bytes
	MemoryMax                   uint64 // bytes at most so far
	MemoryFailures              uint64 // times that the limit was hit
	PageFaults, MajorFaults     uint64 // of the group alone
	OOMKills                    uint64
	Threads, ThreadsMax         uint64 // ThreadsMax is 0 for no limit

	CPUPeriod, CPUQuota                     uint64 // microseconds; CPUQuota is 0 for no limit
	CPUShares                               uint64
	MemoryLimit, MemoryAndSwap, Reservation uint64 // bytes, 0 for none

	IO       []DeviceIO
	Pressure map[string]Pressure // by resource, cpu, memory and io; version 2 only
}

// DeviceIO is what a group read from and wrote to a block device.
type DeviceIO struct {
	Major, Minor                         string
	ReadBytes, WriteBytes, Reads, Writes uint64
}

// Pressure is for how long tasks waited for a resource: some of them, and all at once (microseconds).
type Pressure struct{ Some, Full uint64 }

// Accounting reads a group; os.ErrNotExist when there is no such group.
func (h *Hierarchy) Accounting(group string) (Accounting, error) {
	read, dir := h.accountingV1, h.v1["memory"]
	if h.Unified() {
		read, dir = h.accountingV2, h.v2
	}
	if _, err := os.Stat(filepath.Join(dir, group)); err != nil {
		return Accounting{}, fmt.Errorf("read control group %s: %w", group, err)
	}
	return read(group), nil
}

// accountingV1 takes what is there: which files there are depends on how the kernel was built.
func (h *Hierarchy) accountingV1(group string) Accounting {
	file := func(controller, name string) string { return filepath.Join(h.v1[controller], group, name) }
	one := func(controller, name string) uint64 { n, _ := number(file(controller, name)); return n }
	lines := func(controller, name string) map[string]uint64 { m, _ := keyed(file(controller, name)); return m }
	times, throttling := lines("cpuacct", "cpuacct.stat"), lines("cpu", "cpu.stat")
	memory := lines("memory", "memory.stat")
	a := Accounting{
		CPUUser: ticks(times["user"]), CPUSystem: ticks(times["system"]),
		Periods: throttling["nr_periods"], ThrottledPeriods: throttling["nr_throttled"], Throttled: throttling["throttled_time"] / 1000,
		Cache: memory["total_cache"], Mapped: memory["total_mapped_file"], Swap: memory["total_swap"],
		Kernel: one("memory", "memory.kmem.usage_in_bytes"), MemoryMax: one("memory", "memory.max_usage_in_bytes"),
		MemoryFailures: one("memory", "memory.failcnt"), PageFaults: memory["pgfault"], MajorFaults: memory["pgmajfault"],
		OOMKills: lines("memory", "memory.oom_control")["oom_kill"],
		Threads:  one("pids", "pids.current"), ThreadsMax: one("pids", "pids.max"),
		CPUPeriod: one("cpu", "cpu.cfs_period_us"), CPUQuota: one("cpu", "cpu.cfs_quota_us"), CPUShares: one("cpu", "cpu.shares"),
		MemoryLimit:   limited(one("memory", "memory.limit_in_bytes")),
		MemoryAndSwap: limited(one("memory", "memory.memsw.limit_in_bytes")),
		Reservation:   limited(one("memory", "memory.soft_limit_in_bytes")),
	}
	a.IO = ioV1(text(file("blkio", "blkio.throttle.io_service_bytes_recursive")), text(file("blkio", "blkio.throttle.io_serviced_recursive")))
	return a
}

func (h *Hierarchy) accountingV2(group string) Accounting {
	file := func(name string) string { return filepath.Join(h.v2, group, name) }
	one := func(name string) uint64 { n, _ := number(file(name)); return n }
	lines := func(name string) map[string]uint64 { m, _ := keyed(file(name)); return m }
	cpu, memory, events := lines("cpu.stat"), lines("memory.stat"), lines("memory.events")
	a := Accounting{
		CPUUser: cpu["user_usec"], CPUSystem: cpu["system_usec"],
		Periods: cpu["nr_periods"], ThrottledPeriods: cpu["nr_throttled"], Throttled: cpu["throttled_usec"],
		Cache: memory["file"], Mapped: memory["file_mapped"], Kernel: memory["kernel"], Swap: one("memory.swap.current"),
		MemoryMax: one("memory.peak"), MemoryFailures: events["max"], OOMKills: events["oom_kill"],
		PageFaults: memory["pgfault"], MajorFaults: memory["pgmajfault"],
		Threads: one("pids.current"), ThreadsMax: one("pids.max"),
		CPUShares: shares(one("cpu.weight")), MemoryLimit: one("memory.max"), Reservation: one("memory.low"),
		IO:       ioV2(text(file("io.stat"))),
		Pressure: map[string]Pressure{},
	}
	if quota, period, ok := strings.Cut(strings.TrimSpace(text(file("cpu.max"))), " "); ok {
		a.CPUQuota, a.CPUPeriod = parse(quota), parse(period)
	}
	if swap := one("memory.swap.max"); a.MemoryLimit > 0 && strings.TrimSpace(text(file("memory.swap.max"))) != "max" {
		a.MemoryAndSwap = a.MemoryLimit + swap
	}
	for _, resource := range []string{"cpu", "memory", "io"} {
		if content := text(file(resource + ".pressure")); content != "" {
			a.Pressure[resource] = pressure(content)
		}
	}
	return a
}

// ticks converts from the unit of version 1's times, which is 1/100 s on every architecture that Go runs on.
func ticks(n uint64) uint64 { return n * 10_000 }

// shares is the inverse of runc's conversion from version 1's shares (2 to 262144) to version 2's weight (1 to 10000).
func shares(weight uint64) uint64 {
	if weight == 0 {
		return 0
	}
	return 2 + (weight-1)*262142/9999
}

func limited(bytes uint64) uint64 {
	if bytes >= noLimit {
		return 0
	}
	return bytes
}

// ioV1 joins two files of lines "MAJOR:MINOR OPERATION NUMBER".
func ioV1(bytes, operations string) []DeviceIO {
	var out []DeviceIO
	each := func(content string, put func(d *DeviceIO, operation string, n uint64)) {
		for line := range strings.Lines(content) {
			fields := strings.Fields(line)
			if len(fields) == 3 {
				put(device(&out, fields[0]), fields[1], parse(fields[2]))
			}
		}
	}
	each(bytes, func(d *DeviceIO, operation string, n uint64) {
		switch operation {
		case "Read":
			d.ReadBytes = n
		case "Write":
			d.WriteBytes = n
		}
	})
	each(operations, func(d *DeviceIO, operation string, n uint64) {
		switch operation {
		case "Read":
			d.Reads = n
		case "Write":
			d.Writes = n
		}
	})
	return out
}

// ioV2 reads lines "MAJOR:MINOR rbytes=N wbytes=N rios=N wios=N …".
func ioV2(content string) []DeviceIO {
	var out []DeviceIO
	for line := range strings.Lines(content) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		d := device(&out, fields[0])
		for _, field := range fields[1:] {
			key, n, _ := strings.Cut(field, "=")
			switch key {
			case "rbytes":
				d.ReadBytes = parse(n)
			case "wbytes":
				d.WriteBytes = parse(n)
			case "rios":
				d.Reads = parse(n)
			case "wios":
				d.Writes = parse(n)
			}
		}
	}
	return out
}

func device(all *[]DeviceIO, number string) *DeviceIO {
	major, minor, _ := strings.Cut(number, ":")
	for i := range *all {
		if (*all)[i].Major == major && (*all)[i].Minor == minor {
			return &(*all)[i]
		}
	}
	*all = append(*all, DeviceIO{Major: major, Minor: minor})
	return &(*all)[len(*all)-1]
}

// pressure reads lines "some avg10=… total=MICROSECONDS" and "full …".
func pressure(content string) Pressure {
	var p Pressure
	for line := range strings.Lines(content) {
		kind, rest, _ := strings.Cut(line, " ")
		_, total, _ := strings.Cut(strings.TrimSpace(rest), "total=")
		switch kind {
		case "some":
			p.Some = parse(total)
		case "full":
			p.Full = parse(total)
		}
	}
	return p
}

// parse reads a number; "max" and what is none is 0.
func parse(s string) uint64 {
	n, _ := strconv.ParseUint(s, 10, 64)
	return n
}

func text(path string) string {
	raw, _ := os.ReadFile(path)
	return string(raw)
}
