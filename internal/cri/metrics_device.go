// SPDX-License-Identifier: Apache-2.0

package cri

import (
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"eastwest/internal/cri/cgroup"
)

const (
	counterType = runtimeapi.MetricType_COUNTER
	gaugeType   = runtimeapi.MetricType_GAUGE
)

func unlessZero(n uint64) []sample {
	if n == 0 {
		return nil
	}
	return []sample{{value: n}}
}

// diskMetrics are of the file system that the writable layer is on, and of block devices.
func diskMetrics() []metric[reading] {
	onDisk := func(name, help string, of func(reading) uint64) metric[reading] {
		return metric[reading]{name: name, help: help, kind: gaugeType, labels: []string{"device"},
			of: func(r reading) []sample { return []sample{{[]string{r.disk.device}, of(r)}} }}
	}
	eachDevice := func(name, help string, of func(cgroup.DeviceIO) uint64) metric[reading] {
		return metric[reading]{name: name, help: help, kind: counterType, labels: []string{"device"}, of: func(r reading) []sample {
			var out []sample
			for _, io := range r.accounting.IO {
				out = append(out, sample{[]string{deviceName(io.Major, io.Minor)}, of(io)})
			}
			return out
		}}
	}
	return []metric[reading]{
		onDisk("container_fs_usage_bytes", "Bytes that the container has written to its root file system.", func(r reading) uint64 { return r.written }),
		onDisk("container_fs_limit_bytes", "Size of the file system that they are on.", func(r reading) uint64 { return r.disk.bytes }),
		onDisk("container_fs_inodes_total", "Inodes of that file system.", func(r reading) uint64 { return r.disk.inodes }),
		onDisk("container_fs_inodes_free", "Free inodes of that file system.", func(r reading) uint64 { return r.disk.availableInode }),
		eachDevice("container_fs_reads_bytes_total", "Bytes read from the device.", func(io cgroup.DeviceIO) uint64 { return io.ReadBytes }),
		eachDevice("container_fs_reads_total", "Reads from the device.", func(io cgroup.DeviceIO) uint64 { return io.Reads }),
		eachDevice("container_fs_writes_bytes_total", "Bytes written to the device.", func(io cgroup.DeviceIO) uint64 { return io.WriteBytes }),
		eachDevice("container_fs_writes_total", "Writes to the device.", func(io cgroup.DeviceIO) uint64 { return io.Writes }),
		{name: "container_blkio_device_usage_total", help: "Bytes read from and written to the device.", kind: counterType,
			labels: []string{"device", "major", "minor", "operation"}, of: deviceUsage},
	}
}

func deviceUsage(r reading) []sample {
	var out []sample
	for _, io := range r.accounting.IO {
		name := deviceName(io.Major, io.Minor)
		out = append(out, sample{[]string{name, io.Major, io.Minor, "Read"}, io.ReadBytes}, sample{[]string{name, io.Major, io.Minor, "Write"}, io.WriteBytes})
	}
	return out
}

// pressureMetrics are of version 2 of control groups only.
func pressureMetrics() []metric[reading] {
	var out []metric[reading]
	for _, resource := range []string{"cpu", "memory", "io"} {
		waiting := func(name, help string, of func(cgroup.Pressure) uint64) metric[reading] {
			return metric[reading]{name: name, help: help, kind: counterType, of: func(r reading) []sample {
				p, ok := r.accounting.Pressure[resource]
				if !ok {
					return nil
				}
				return []sample{{value: of(p) / microseconds}}
			}}
		}
		out = append(out,
			waiting("container_pressure_"+resource+"_waiting_seconds_total", "Time for which tasks waited for "+resource+".", func(p cgroup.Pressure) uint64 { return p.Some }),
			waiting("container_pressure_"+resource+"_stalled_seconds_total", "Time for which all tasks waited for "+resource+".", func(p cgroup.Pressure) uint64 { return p.Full }))
	}
	return out
}

// networkMetrics are those of each device of a pod, but lo.
func networkMetrics() []metric[[]netDevice] {
	each := func(name, help string, of func(netDevice) uint64) metric[[]netDevice] {
		return metric[[]netDevice]{name: name, help: help, kind: counterType, labels: []string{"interface"}, of: func(devices []netDevice) []sample {
			var out []sample
			for _, d := range devices {
				out = append(out, sample{[]string{d.name}, of(d)})
			}
			return out
		}}
	}
	return []metric[[]netDevice]{
		each("container_network_receive_bytes_total", "Bytes received.", func(d netDevice) uint64 { return d.received.bytes }),
		each("container_network_receive_packets_total", "Packets received.", func(d netDevice) uint64 { return d.received.packets }),
		each("container_network_receive_packets_dropped_total", "Packets dropped on receipt.", func(d netDevice) uint64 { return d.received.dropped }),
		each("container_network_receive_errors_total", "Errors on receipt.", func(d netDevice) uint64 { return d.received.errors }),
		each("container_network_transmit_bytes_total", "Bytes sent.", func(d netDevice) uint64 { return d.sent.bytes }),
		each("container_network_transmit_packets_total", "Packets sent.", func(d netDevice) uint64 { return d.sent.packets }),
		each("container_network_transmit_packets_dropped_total", "Packets dropped on sending.", func(d netDevice) uint64 { return d.sent.dropped }),
		each("container_network_transmit_errors_total", "Errors on sending.", func(d netDevice) uint64 { return d.sent.errors }),
	}
}
