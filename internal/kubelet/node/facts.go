// SPDX-License-Identifier: Apache-2.0

package node

import (
	"bufio"
	"os"
	goruntime "runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

func capacity(root string, pods int) corev1.ResourceList {
	list := corev1.ResourceList{
		corev1.ResourceCPU:    *resource.NewQuantity(int64(goruntime.NumCPU()), resource.DecimalSI),
		corev1.ResourceMemory: *resource.NewQuantity(meminfo("MemTotal"), resource.BinarySI),
		corev1.ResourcePods:   *resource.NewQuantity(int64(pods), resource.DecimalSI),
	}
	if total, _ := disk(root); total > 0 {
		list[corev1.ResourceEphemeralStorage] = *resource.NewQuantity(total, resource.BinarySI)
	}
	return list
}

// meminfo returns a field of proc_meminfo(5) in bytes, or 0.
func meminfo(field string) int64 {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		name, rest, _ := strings.Cut(lines.Text(), ":")
		if name == field {
			kb, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64) // 0 when unreadable
			return kb << 10
		}
	}
	return 0
}

// disk returns the size of the file system that holds path and what of it is free, in bytes.
func disk(path string) (total, free int64) {
	var s unix.Statfs_t
	if unix.Statfs(path, &s) != nil {
		return 0, 0
	}
	return int64(s.Blocks) * s.Bsize, int64(s.Bavail) * s.Bsize
}

// Memory returns how much memory there is, and what of it programs can still get.
func Memory() (total, available int64) { return meminfo("MemTotal"), meminfo("MemAvailable") }

// Disk returns the size of the file system that holds path and what of it is free, in bytes and in inodes.
func Disk(path string) (total, free, inodes, inodesFree int64) {
	total, free = disk(path)
	var s unix.Statfs_t
	if unix.Statfs(path, &s) != nil {
		return total, free, 0, 0
	}
	return total, free, int64(s.Files), int64(s.Ffree)
}

// Processes returns how many the kernel has, and how many it may have.
func Processes() (now, limit int64) {
	data, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0, 0
	}
	fields := strings.Fields(string(data))
	if len(fields) < 4 {
		return 0, 0
	}
	_, all, _ := strings.Cut(fields[3], "/")
	now, _ = strconv.ParseInt(all, 10, 64)
	limit, _ = strconv.ParseInt(line("/proc/sys/kernel/pid_max"), 10, 64)
	return now, limit
}

// line returns a file's text without blanks around it, or nothing.
func line(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

func osImage() string {
	for text := range strings.Lines(line("/etc/os-release")) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(text), "PRETTY_NAME="); ok {
			return strings.Trim(value, `"'`)
		}
	}
	return "Linux"
}

func kernel() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return ""
	}
	return unix.ByteSliceToString(u.Release[:])
}

func (r *Reporter) info() corev1.NodeSystemInfo {
	r.mu.Lock()
	defer r.mu.Unlock()
	return corev1.NodeSystemInfo{
		MachineID: line("/etc/machine-id"), SystemUUID: line("/sys/class/dmi/id/product_uuid"),
		BootID: line("/proc/sys/kernel/random/boot_id"), KernelVersion: kernel(), OSImage: osImage(),
		ContainerRuntimeVersion: r.runtime + "://" + r.version, KubeletVersion: r.config.Version,
		OperatingSystem: "linux", Architecture: goruntime.GOARCH,
	}
}
