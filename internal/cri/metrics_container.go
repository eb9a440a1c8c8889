// SPDX-License-Identifier: Apache-2.0

package cri

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"eastwest/internal/cri/cgroup"
)

// reading is what the metrics of a container are taken from.
type reading struct {
	record     containerRecord
	stats      cgroup.Stats
	accounting cgroup.Accounting
	processes  processes
	written    uint64 // bytes of the writable layer
	disk       disk
	at         time.Time
}

type processes struct{ number, descriptors, sockets uint64 }

// disk is the file system that the writable layer is on.
type disk struct {
	device                        string
	bytes, inodes, availableInode uint64
}

func (s *Server) readContainer(rec containerRecord) (r reading, err error) {
	r = reading{record: rec, at: time.Now(), disk: readDisk(s.containerRecords())}
	if r.stats, err = s.cgroups.Stats(rec.CgroupsPath); err != nil {
		return reading{}, err
	}
	if r.accounting, err = s.cgroups.Accounting(rec.CgroupsPath); err != nil {
		return reading{}, err
	}
	r.processes = countDescriptors(s.cgroups.Processes(rec.CgroupsPath))
	r.written = s.writableLayer(rec.ID).GetUsedBytes().GetValue()
	return r, nil
}

func countDescriptors(pids []int) processes {
	out := processes{number: uint64(len(pids))}
	for _, pid := range pids {
		dir := filepath.Join("/proc", strconv.Itoa(pid), "fd")
		entries, _ := os.ReadDir(dir) // it may just have ended
		out.descriptors += uint64(len(entries))
		for _, e := range entries {
			if target, _ := os.Readlink(filepath.Join(dir, e.Name())); strings.HasPrefix(target, "socket:") {
				out.sockets++
			}
		}
	}
	return out
}

func readDisk(dir string) disk {
	var fs unix.Statfs_t
	var st unix.Stat_t
	if unix.Statfs(dir, &fs) != nil || unix.Stat(dir, &st) != nil {
		return disk{device: dir}
	}
	major, minor := strconv.Itoa(int(unix.Major(st.Dev))), strconv.Itoa(int(unix.Minor(st.Dev)))
	return disk{device: deviceName(major, minor), bytes: fs.Blocks * uint64(fs.Bsize), inodes: fs.Files, availableInode: fs.Ffree}
}

// deviceName is the block device's path, or its numbers where there is none, as for file systems in memory.
func deviceName(major, minor string) string {
	text, _ := os.ReadFile(filepath.Join("/sys/dev/block", major+":"+minor, "uevent"))
	for line := range strings.Lines(string(text)) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "DEVNAME="); ok {
			return "/dev/" + name
		}
	}
	return major + ":" + minor
}

// containerMetrics are those of each container. CRI's values are whole numbers, so times are in seconds.
func containerMetrics() []metric[reading] {
	all := append(cpuMetrics(), memoryMetrics()...)
	all = append(all, diskMetrics()...)
	all = append(all, processMetrics()...)
	return append(all, pressureMetrics()...)
}

const microseconds = uint64(time.Second / time.Microsecond)

func cpuMetrics() []metric[reading] {
	return []metric[reading]{
		counter("container_cpu_usage_seconds_total", "Processor time used.", func(r reading) uint64 { return r.stats.CPUNanoseconds / uint64(time.Second) }),
		counter("container_cpu_user_seconds_total", "Processor time used in user mode.", func(r reading) uint64 { return r.accounting.CPUUser / microseconds }),
		counter("container_cpu_system_seconds_total", "Processor time used in the kernel.", func(r reading) uint64 { return r.accounting.CPUSystem / microseconds }),
		counter("container_cpu_cfs_periods_total", "Periods of the processor limit that have passed.", func(r reading) uint64 { return r.accounting.Periods }),
		counter("container_cpu_cfs_throttled_periods_total", "Periods in which the processor limit was reached.", func(r reading) uint64 { return r.accounting.ThrottledPeriods }),
		counter("container_cpu_cfs_throttled_seconds_total", "Time held up by the processor limit.", func(r reading) uint64 { return r.accounting.Throttled / microseconds }),
		gauge("container_spec_cpu_period", "Period of the processor limit in microseconds.", func(r reading) uint64 { return r.accounting.CPUPeriod }),
		{name: "container_spec_cpu_quota", help: "Processor time allowed in a period, in microseconds; none without a limit.", kind: gaugeType,
			of: func(r reading) []sample { return unlessZero(r.accounting.CPUQuota) }},
		gauge("container_spec_cpu_shares", "Share of the processor when it is contended for.", func(r reading) uint64 { return r.accounting.CPUShares }),
	}
}

func memoryMetrics() []metric[reading] {
	return []metric[reading]{
		gauge("container_memory_usage_bytes", "Memory used, with the file cache.", func(r reading) uint64 { return r.stats.MemoryUsage }),
		gauge("container_memory_working_set_bytes", "Memory used, without inactive file cache.", func(r reading) uint64 { return r.stats.WorkingSet }),
		gauge("container_memory_rss", "Anonymous memory.", func(r reading) uint64 { return r.stats.RSS }),
		gauge("container_memory_cache", "File cache.", func(r reading) uint64 { return r.accounting.Cache }),
		gauge("container_memory_mapped_file", "Mapped files.", func(r reading) uint64 { return r.accounting.Mapped }),
		gauge("container_memory_kernel_usage", "Memory that the kernel uses for the container.", func(r reading) uint64 { return r.accounting.Kernel }),
		gauge("container_memory_swap", "Swap used.", func(r reading) uint64 { return r.accounting.Swap }),
		gauge("container_memory_max_usage_bytes", "The most memory used so far.", func(r reading) uint64 { return r.accounting.MemoryMax }),
		counter("container_memory_failcnt", "Times that the memory limit was hit.", func(r reading) uint64 { return r.accounting.MemoryFailures }),
		{name: "container_memory_failures_total", help: "Page faults.", kind: counterType, labels: []string{"failure_type", "scope"}, of: pageFaults},
		counter("container_oom_events_total", "Processes killed for want of memory.", func(r reading) uint64 { return r.accounting.OOMKills }),
		gauge("container_spec_memory_limit_bytes", "Memory limit; 0 for none.", func(r reading) uint64 { return r.accounting.MemoryLimit }),
		gauge("container_spec_memory_swap_limit_bytes", "Limit of memory and swap together; 0 for none.", func(r reading) uint64 { return r.accounting.MemoryAndSwap }),
		gauge("container_spec_memory_reservation_limit_bytes", "Memory that is taken last when it is short; 0 for none.", func(r reading) uint64 { return r.accounting.Reservation }),
	}
}

func pageFaults(r reading) []sample {
	return []sample{
		{[]string{"pgfault", "container"}, r.accounting.PageFaults}, {[]string{"pgmajfault", "container"}, r.accounting.MajorFaults},
		{[]string{"pgfault", "hierarchy"}, r.stats.PageFaults}, {[]string{"pgmajfault", "hierarchy"}, r.stats.MajorFaults},
	}
}

func processMetrics() []metric[reading] {
	return []metric[reading]{
		gauge("container_last_seen", "When the container was last seen, in seconds since 1970.", func(r reading) uint64 { return uint64(r.at.Unix()) }),
		gauge("container_start_time_seconds", "When the container was started, in seconds since 1970.", func(r reading) uint64 { return uint64(r.record.Started.Unix()) }),
		gauge("container_processes", "Processes.", func(r reading) uint64 { return r.processes.number }),
		gauge("container_file_descriptors", "Open file descriptors.", func(r reading) uint64 { return r.processes.descriptors }),
		gauge("container_sockets", "Open sockets.", func(r reading) uint64 { return r.processes.sockets }),
		gauge("container_threads", "Threads.", func(r reading) uint64 { return r.accounting.Threads }),
		gauge("container_threads_max", "Threads allowed; 0 for any number.", func(r reading) uint64 { return r.accounting.ThreadsMax }),
	}
}
