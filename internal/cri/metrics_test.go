// SPDX-License-Identifier: Apache-2.0

package cri

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestParseNetDev(t *testing.T) {
	got := parseNetDev(`Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:     100       1    0    0    0     0          0         0      100       1    0    0    0     0       0          0
  eth0:    1500      10    1    2    3     4          5         6     2500      20    7    8    9     0       0          0
`)
	want := []netDevice{{name: "eth0", received: traffic{1500, 10, 1, 2}, sent: traffic{2500, 20, 7, 8}}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(netDevice{}, traffic{})); diff != "" {
		t.Error(diff)
	}
}

// samples are the values of a metric by those of its own labels.
func samples(metrics []*runtimeapi.Metric, name string) map[string]uint64 {
	out := map[string]uint64{}
	for _, m := range metrics {
		if m.GetName() == name {
			out[strings.Join(m.GetLabelValues()[len(baseLabels):], ",")] = m.GetValue().GetValue()
		}
	}
	return out
}

func TestMetrics(t *testing.T) {
	n := newNode(t)
	pod := n.sandboxConfig("web")
	sb := n.runSandbox(pod)
	cfg := containerConfig("main", "serve")
	cfg.Linux.Resources = &runtimeapi.LinuxContainerResources{CpuPeriod: 100_000, CpuQuota: 20_000, CpuShares: 512, MemoryLimitInBytes: 64 << 20}
	id := n.run(sb, cfg, pod)
	n.exec(id, "write", "/written")

	described, err := n.runtime.ListMetricDescriptors(t.Context(), &runtimeapi.ListMetricDescriptorsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	labels := map[string][]string{}
	for _, d := range described.GetDescriptors() {
		labels[d.GetName()] = d.GetLabelKeys()
	}
	resp, err := n.runtime.ListPodSandboxMetrics(t.Context(), &runtimeapi.ListPodSandboxMetricsRequest{})
	if err != nil || len(resp.GetPodMetrics()) != 1 || len(resp.GetPodMetrics()[0].GetContainerMetrics()) != 1 {
		t.Fatalf("metrics: %v, %v", resp, err)
	}
	of := resp.GetPodMetrics()[0]
	metrics := of.GetContainerMetrics()[0].GetMetrics()
	for _, m := range slices.Concat(of.GetMetrics(), metrics) {
		if len(m.GetLabelValues()) != len(labels[m.GetName()]) {
			t.Errorf("labels of %s: %q, described as %q", m.GetName(), m.GetLabelValues(), labels[m.GetName()])
		}
	}
	for name, want := range map[string]uint64{
		"container_spec_cpu_period": 100_000, "container_spec_cpu_quota": 20_000, "container_spec_cpu_shares": 512,
		"container_spec_memory_limit_bytes": 64 << 20, "container_processes": 1, "container_oom_events_total": 0,
	} {
		if diff := cmp.Diff(map[string]uint64{"": want}, samples(metrics, name)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	for _, name := range []string{"container_memory_usage_bytes", "container_memory_max_usage_bytes", "container_threads", "container_file_descriptors", "container_start_time_seconds", "container_fs_usage_bytes", "container_fs_limit_bytes"} {
		if got := samples(metrics, name); len(got) != 1 || slices.Max(slices.Collect(maps.Values(got))) == 0 {
			t.Errorf("%s: %v, want one above zero", name, got)
		}
	}
	first := metrics[0].GetLabelValues()
	if first[0] != "main" || first[2] != "test.local/pod" || first[3] != id || first[4] != "default" || first[5] != "web" {
		t.Errorf("labels of a container: %q", first)
	}
}
