// SPDX-License-Identifier: Apache-2.0

package stats

import (
	"bufio"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	statsv1 "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// userHZ is the unit of proc_stat(5), fixed in the kernel's interface to programs.
const userHZ = 100

func (s Source) node() statsv1.NodeStats {
	now := metav1.Now()
	out := statsv1.NodeStats{NodeName: s.Node, StartTime: metav1.NewTime(s.Started)}
	if busy, ok := busyTime(); ok {
		out.CPU = &statsv1.CPUStats{Time: now, UsageCoreNanoSeconds: &busy}
	}
	info := meminfo()
	available, used := info["MemAvailable"], info["MemTotal"]-info["MemFree"]
	set := info["MemTotal"] - available
	out.Memory = &statsv1.MemoryStats{Time: now, AvailableBytes: &available, UsageBytes: &used, WorkingSetBytes: &set}
	var fs unix.Statfs_t
	if unix.Statfs(s.RootDir, &fs) == nil {
		size := uint64(fs.Bsize)
		free, total, taken := fs.Bavail*size, fs.Blocks*size, (fs.Blocks-fs.Bfree)*size
		inodes, inodesFree := fs.Files, fs.Ffree
		out.Fs = &statsv1.FsStats{Time: now, AvailableBytes: &free, CapacityBytes: &total, UsedBytes: &taken, Inodes: &inodes, InodesFree: &inodesFree}
	}
	return out
}

// busyTime returns how long all CPUs together have worked, in nanoseconds.
func busyTime() (uint64, bool) {
	data, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, false
	}
	first, _, _ := strings.Cut(string(data), "\n")
	var ticks uint64
	for i, field := range strings.Fields(first) {
		if i == 0 || i == 4 || i == 5 || i > 8 { // the name, idle, iowait, guests (counted as user already)
			continue
		}
		n, err := strconv.ParseUint(field, 10, 64)
		if err != nil {
			return 0, false
		}
		ticks += n
	}
	return ticks * uint64(time.Second) / userHZ, true
}

// meminfo returns proc_meminfo(5) in bytes.
func meminfo() map[string]uint64 {
	out := map[string]uint64{}
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return out
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		name, rest, _ := strings.Cut(lines.Text(), ":")
		if kb, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64); err == nil {
			out[name] = kb << 10
		}
	}
	return out
}
