// SPDX-License-Identifier: Apache-2.0

package stats

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"eastwest/internal/kubelet/podstate"
)

// plain is a runtime that has statistics of containers alone, as cri-dockerd.
type plain struct {
	runtimeapi.RuntimeServiceClient
}

func (plain) ListPodSandboxStats(context.Context, *runtimeapi.ListPodSandboxStatsRequest, ...grpc.CallOption) (*runtimeapi.ListPodSandboxStatsResponse, error) {
	return nil, status.Error(codes.Unimplemented, "unknown method ListPodSandboxStats")
}

func (plain) ListContainerStats(context.Context, *runtimeapi.ListContainerStatsRequest, ...grpc.CallOption) (*runtimeapi.ListContainerStatsResponse, error) {
	answer := &runtimeapi.ListContainerStatsResponse{}
	for name, bytes := range map[string]uint64{"one": 1000, "two": 2000} {
		answer.Stats = append(answer.Stats, &runtimeapi.ContainerStats{
			Attributes: &runtimeapi.ContainerAttributes{Labels: map[string]string{
				podstate.LabelPodUID: "u", podstate.LabelPodName: "p", podstate.LabelPodNamespace: "n", podstate.LabelContainerName: name}},
			Cpu:    &runtimeapi.CpuUsage{Timestamp: 1e15, UsageCoreNanoSeconds: &runtimeapi.UInt64Value{Value: 1.5e9}},
			Memory: &runtimeapi.MemoryUsage{Timestamp: 1e15, WorkingSetBytes: &runtimeapi.UInt64Value{Value: bytes}},
		})
	}
	return answer, nil
}

func TestResourceMetricsOfARuntimeWithoutPods(t *testing.T) {
	source := Source{Node: "node", RootDir: t.TempDir(), Runtime: plain{}, StartOf: func(uid, container string) time.Time {
		if uid == "u" && container == "one" {
			return time.Unix(7, 0)
		}
		return time.Time{}
	}}
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(Resource{source})
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			name := f.GetName()
			for _, l := range m.GetLabel() {
				name += " " + l.GetValue()
			}
			got[name] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	for name, want := range map[string]float64{
		"resource_scrape_error": 0, "pod_cpu_usage_seconds_total n p": 3, "pod_memory_working_set_bytes n p": 3000,
		"container_cpu_usage_seconds_total one n p": 1.5, "container_memory_working_set_bytes two n p": 2000,
		"container_start_time_seconds one n p": 7,
	} {
		if value, ok := got[name]; !ok || value != want {
			t.Errorf("%s is %v, want %v", name, value, want)
		}
	}
	if got["node_memory_working_set_bytes"] <= 0 || got["node_cpu_usage_seconds_total"] <= 0 {
		t.Errorf("the node uses nothing: %v", got)
	}
	for name := range got {
		if strings.HasPrefix(name, "container_start_time_seconds two") {
			t.Error("a container that was never started has a start")
		}
	}
}
