// SPDX-License-Identifier: Apache-2.0

package cri

import (
	"context"
	"errors"
	"os"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// baseLabels are those of every metric: cAdvisor's, as the kubelet has them.
var baseLabels = []string{"container", "id", "image", "name", "namespace", "pod"}

// metric is one of cAdvisor's metrics, which the kubelet serves under the same name. R is what its samples are taken from.
type metric[R any] struct {
	name, help string
	kind       runtimeapi.MetricType
	labels     []string // beyond baseLabels
	of         func(R) []sample
}

type sample struct {
	labels []string // values of the metric's own labels
	value  uint64
}

func counter[R any](name, help string, of func(R) uint64) metric[R] {
	return metric[R]{name: name, help: help, kind: runtimeapi.MetricType_COUNTER, of: one(of)}
}

func gauge[R any](name, help string, of func(R) uint64) metric[R] {
	return metric[R]{name: name, help: help, kind: runtimeapi.MetricType_GAUGE, of: one(of)}
}

func one[R any](of func(R) uint64) func(R) []sample {
	return func(r R) []sample { return []sample{{value: of(r)}} }
}

// ListMetricDescriptors names the metrics that ListPodSandboxMetrics has, and their labels in order.
func (s *Server) ListMetricDescriptors(context.Context, *runtimeapi.ListMetricDescriptorsRequest) (*runtimeapi.ListMetricDescriptorsResponse, error) {
	resp := &runtimeapi.ListMetricDescriptorsResponse{}
	resp.Descriptors = append(descriptors(networkMetrics()), descriptors(containerMetrics())...)
	return resp, nil
}

func descriptors[R any](metrics []metric[R]) []*runtimeapi.MetricDescriptor {
	var out []*runtimeapi.MetricDescriptor
	for _, m := range metrics {
		out = append(out, &runtimeapi.MetricDescriptor{Name: m.name, Help: m.help, LabelKeys: append(baseLabels[:len(baseLabels):len(baseLabels)], m.labels...)})
	}
	return out
}

// ListPodSandboxMetrics reads the metrics of the pods whose sandbox is ready.
func (s *Server) ListPodSandboxMetrics(context.Context, *runtimeapi.ListPodSandboxMetricsRequest) (*runtimeapi.ListPodSandboxMetricsResponse, error) {
	resp := &runtimeapi.ListPodSandboxMetricsResponse{}
	for _, rec := range s.sandboxRecordsInMemory() {
		if !rec.Ready {
			continue
		}
		pod, err := s.podMetrics(rec)
		if err != nil {
			return nil, err
		}
		resp.PodMetrics = append(resp.PodMetrics, pod)
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

func (s *Server) podMetrics(rec sandboxRecord) (*runtimeapi.PodSandboxMetrics, error) {
	meta := rec.Config.GetMetadata()
	labels := []string{"", rec.Config.GetLinux().GetCgroupParent(), "", rec.ID, meta.GetNamespace(), meta.GetName()}
	out := &runtimeapi.PodSandboxMetrics{PodSandboxId: rec.ID, Metrics: measure(networkMetrics(), readDevices(rec.NetNS), labels)}
	for _, c := range s.containerRecordsInMemory() {
		if c.SandboxID != rec.ID || c.State != stateRunning {
			continue
		}
		reading, err := s.readContainer(c)
		if errors.Is(err, os.ErrNotExist) {
			continue // ended in between
		}
		if err != nil {
			return nil, err
		}
		labels := []string{c.Config.GetMetadata().GetName(), c.CgroupsPath, imageName(c), c.ID, meta.GetNamespace(), meta.GetName()}
		out.ContainerMetrics = append(out.ContainerMetrics, &runtimeapi.ContainerMetrics{
			ContainerId: c.ID, Metrics: measure(containerMetrics(), reading, labels),
		})
	}
	return out, nil
}

// imageName is what the user called the image, where the kubelet tells.
func imageName(rec containerRecord) string {
	image := rec.Config.GetImage()
	if name := image.GetUserSpecifiedImage(); name != "" {
		return name
	}
	return image.GetImage()
}

func measure[R any](metrics []metric[R], reading R, labels []string) []*runtimeapi.Metric {
	now := time.Now().UnixNano()
	var out []*runtimeapi.Metric
	for _, m := range metrics {
		for _, one := range m.of(reading) {
			out = append(out, &runtimeapi.Metric{
				Name: m.name, Timestamp: now, MetricType: m.kind, Value: value(one.value),
				LabelValues: append(labels[:len(labels):len(labels)], one.labels...),
			})
		}
	}
	return out
}
