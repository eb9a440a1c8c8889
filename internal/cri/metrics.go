// SPDX-License-Identifier: Apache-2.0

package cri

import (
	"context"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// metric is one of cAdvisor's metrics, which the kubelet serves under the same name.
type metric struct {
	name, help string
	kind       runtimeapi.MetricType
	of         func(*runtimeapi.ContainerStats) *runtimeapi.UInt64Value
}

// containerMetrics are those of each container. CRI's values are whole numbers, so times are in seconds.
func containerMetrics() []metric {
	return []metric{
		{"container_cpu_usage_seconds_total", "Cumulative cpu time consumed in seconds.", runtimeapi.MetricType_COUNTER,
			func(s *runtimeapi.ContainerStats) *runtimeapi.UInt64Value {
				return value(s.GetCpu().GetUsageCoreNanoSeconds().GetValue() / uint64(time.Second))
			}},
		{"container_memory_usage_bytes", "Current memory usage in bytes, including all memory regardless of when it was accessed.", runtimeapi.MetricType_GAUGE,
			func(s *runtimeapi.ContainerStats) *runtimeapi.UInt64Value { return s.GetMemory().GetUsageBytes() }},
		{"container_memory_working_set_bytes", "Current working set in bytes.", runtimeapi.MetricType_GAUGE,
			func(s *runtimeapi.ContainerStats) *runtimeapi.UInt64Value { return s.GetMemory().GetWorkingSetBytes() }},
		{"container_memory_rss", "Size of RSS in bytes.", runtimeapi.MetricType_GAUGE,
			func(s *runtimeapi.ContainerStats) *runtimeapi.UInt64Value { return s.GetMemory().GetRssBytes() }},
		{"container_fs_usage_bytes", "Number of bytes that are consumed by the container on this filesystem.", runtimeapi.MetricType_GAUGE,
			func(s *runtimeapi.ContainerStats) *runtimeapi.UInt64Value { return s.GetWritableLayer().GetUsedBytes() }},
	}
}

// networkMetric is a counter of a pod's device.
type networkMetric struct {
	name, help string
	of         func(*runtimeapi.NetworkInterfaceUsage) *runtimeapi.UInt64Value
}

func networkMetrics() []networkMetric {
	return []networkMetric{
		{"container_network_receive_bytes_total", "Cumulative count of bytes received.", (*runtimeapi.NetworkInterfaceUsage).GetRxBytes},
		{"container_network_receive_errors_total", "Cumulative count of errors encountered while receiving.", (*runtimeapi.NetworkInterfaceUsage).GetRxErrors},
		{"container_network_transmit_bytes_total", "Cumulative count of bytes transmitted.", (*runtimeapi.NetworkInterfaceUsage).GetTxBytes},
		{"container_network_transmit_errors_total", "Cumulative count of errors encountered while transmitting.", (*runtimeapi.NetworkInterfaceUsage).GetTxErrors},
	}
}

// ListMetricDescriptors names the metrics that ListPodSandboxMetrics has, and their labels in order.
func (s *Server) ListMetricDescriptors(context.Context, *runtimeapi.ListMetricDescriptorsRequest) (*runtimeapi.ListMetricDescriptorsResponse, error) {
	resp := &runtimeapi.ListMetricDescriptorsResponse{}
	for _, m := range containerMetrics() {
		resp.Descriptors = append(resp.Descriptors, &runtimeapi.MetricDescriptor{Name: m.name, Help: m.help, LabelKeys: []string{"id", "name"}})
	}
	for _, m := range networkMetrics() {
		resp.Descriptors = append(resp.Descriptors, &runtimeapi.MetricDescriptor{Name: m.name, Help: m.help, LabelKeys: []string{"id", "interface"}})
	}
	return resp, nil
}

// ListPodSandboxMetrics reads the metrics of the pods whose sandbox is ready.
func (s *Server) ListPodSandboxMetrics(ctx context.Context, _ *runtimeapi.ListPodSandboxMetricsRequest) (*runtimeapi.ListPodSandboxMetricsResponse, error) {
	stats, err := s.ListPodSandboxStats(ctx, &runtimeapi.ListPodSandboxStatsRequest{})
	if err != nil {
		return nil, err
	}
	resp := &runtimeapi.ListPodSandboxMetricsResponse{}
	for _, pod := range stats.GetStats() {
		resp.PodMetrics = append(resp.PodMetrics, podMetrics(pod))
	}
	return resp, nil
}

// StreamPodSandboxMetrics sends what ListPodSandboxMetrics answers.
func (s *Server) StreamPodSandboxMetrics(_ *runtimeapi.StreamPodSandboxMetricsRequest, stream runtimeapi.RuntimeService_StreamPodSandboxMetricsServer) error {
	resp, err := s.ListPodSandboxMetrics(stream.Context(), &runtimeapi.ListPodSandboxMetricsRequest{})
	if err != nil {
		return err
	}
	return stream.Send(&runtimeapi.StreamPodSandboxMetricsResponse{PodSandboxMetrics: resp.GetPodMetrics()})
}

func podMetrics(pod *runtimeapi.PodSandboxStats) *runtimeapi.PodSandboxMetrics {
	id, now := pod.GetAttributes().GetId(), time.Now().UnixNano()
	out := &runtimeapi.PodSandboxMetrics{PodSandboxId: id}
	devices := pod.GetLinux().GetNetwork().GetInterfaces()
	if main := pod.GetLinux().GetNetwork().GetDefaultInterface(); main != nil {
		devices = append([]*runtimeapi.NetworkInterfaceUsage{main}, devices...)
	}
	for _, dev := range devices {
		for _, m := range networkMetrics() {
			out.Metrics = append(out.Metrics, &runtimeapi.Metric{
				Name: m.name, Timestamp: now, MetricType: runtimeapi.MetricType_COUNTER, LabelValues: []string{id, dev.GetName()}, Value: m.of(dev),
			})
		}
	}
	for _, c := range pod.GetLinux().GetContainers() {
		attrs := c.GetAttributes()
		metrics := &runtimeapi.ContainerMetrics{ContainerId: attrs.GetId()}
		for _, m := range containerMetrics() {
			metrics.Metrics = append(metrics.Metrics, &runtimeapi.Metric{
				Name: m.name, Timestamp: now, MetricType: m.kind, LabelValues: []string{attrs.GetId(), attrs.GetMetadata().GetName()}, Value: m.of(c),
			})
		}
		out.ContainerMetrics = append(out.ContainerMetrics, metrics)
	}
	return out
}
