// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// write makes a hierarchy's files as the kernel shows them.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestAccountingVersion1(t *testing.T) {
	dir := write(t, map[string]string{
		"cpuacct/g/cpuacct.stat": "user 150\nsystem 7\n",
		"cpu/g/cpu.stat":         "nr_periods 9\nnr_throttled 3\nthrottled_time 5000000\n",
		"cpu/g/cpu.cfs_quota_us": "-1\n", "cpu/g/cpu.cfs_period_us": "100000\n", "cpu/g/cpu.shares": "1024\n",
		"memory/g/memory.stat":               "cache 1\npgfault 10\npgmajfault 2\ntotal_cache 4096\ntotal_mapped_file 8192\ntotal_swap 5\ntotal_pgfault 99\n",
		"memory/g/memory.oom_control":        "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n",
		"memory/g/memory.max_usage_in_bytes": "70000\n", "memory/g/memory.failcnt": "6\n", "memory/g/memory.kmem.usage_in_bytes": "300\n",
		"memory/g/memory.limit_in_bytes": "67108864\n", "memory/g/memory.memsw.limit_in_bytes": "9223372036854771712\n",
		"pids/g/pids.current": "2\n", "pids/g/pids.max": "max\n",
		"blkio/g/blkio.throttle.io_service_bytes_recursive": "254:0 Read 4096\n254:0 Write 512\n254:0 Total 4608\nTotal 4608\n",
		"blkio/g/blkio.throttle.io_serviced_recursive":      "254:0 Read 1\n254:0 Write 3\nTotal 4\n",
	})
	h := &Hierarchy{v1: map[string]string{}}
	for _, controller := range []string{"cpu", "cpuacct", "memory", "pids", "blkio"} {
		h.v1[controller] = filepath.Join(dir, controller)
	}
	got, err := h.Accounting("g")
	if err != nil {
		t.Fatal(err)
	}
	want := Accounting{
		CPUUser: 1_500_000, CPUSystem: 70_000, Periods: 9, ThrottledPeriods: 3, Throttled: 5000,
		Cache: 4096, Mapped: 8192, Swap: 5, Kernel: 300, MemoryMax: 70000, MemoryFailures: 6, PageFaults: 10, MajorFaults: 2, OOMKills: 4,
		Threads: 2, CPUPeriod: 100000, CPUShares: 1024, MemoryLimit: 64 << 20,
		IO: []DeviceIO{{Major: "254", Minor: "0", ReadBytes: 4096, WriteBytes: 512, Reads: 1, Writes: 3}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, err := h.Accounting("none"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("group that is not there: %v", err)
	}
}

func TestAccountingVersion2(t *testing.T) {
	dir := write(t, map[string]string{
		"g/cpu.stat": "usage_usec 10\nuser_usec 7\nsystem_usec 3\nnr_periods 9\nnr_throttled 3\nthrottled_usec 5000\n",
		"g/cpu.max":  "20000 100000\n", "g/cpu.weight": "39\n",
		"g/memory.stat":   "anon 1\nfile 4096\nkernel 300\nfile_mapped 8192\npgfault 10\npgmajfault 2\n",
		"g/memory.events": "low 0\nhigh 0\nmax 6\noom 1\noom_kill 4\n", "g/memory.peak": "70000\n",
		"g/memory.max": "1000\n", "g/memory.swap.max": "0\n", "g/memory.low": "500\n", "g/memory.swap.current": "5\n",
		"g/pids.current": "2\n", "g/pids.max": "100\n",
		"g/io.stat":      "254:0 rbytes=4096 wbytes=512 rios=1 wios=3 dbytes=0 dios=0\n",
		"g/cpu.pressure": "some avg10=0.00 avg60=0.00 avg300=0.00 total=1234\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=56\n",
	})
	got, err := (&Hierarchy{v2: dir}).Accounting("g")
	if err != nil {
		t.Fatal(err)
	}
	want := Accounting{
		CPUUser: 7, CPUSystem: 3, Periods: 9, ThrottledPeriods: 3, Throttled: 5000,
		Cache: 4096, Mapped: 8192, Kernel: 300, Swap: 5, MemoryMax: 70000, MemoryFailures: 6, PageFaults: 10, MajorFaults: 2, OOMKills: 4,
		Threads: 2, ThreadsMax: 100, CPUPeriod: 100000, CPUQuota: 20000, CPUShares: 998, MemoryLimit: 1000, MemoryAndSwap: 1000, Reservation: 500,
		IO:       []DeviceIO{{Major: "254", Minor: "0", ReadBytes: 4096, WriteBytes: 512, Reads: 1, Writes: 3}},
		Pressure: map[string]Pressure{"cpu": {Some: 1234, Full: 56}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
