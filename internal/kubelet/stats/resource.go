// SPDX-License-Identifier: Apache-2.0

package stats

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	statsv1 "k8s.io/kubelet/pkg/apis/stats/v1alpha1"
)

// Resource answers /metrics/resource, which metrics-server asks for `kubectl top` and autoscaling: the summary under Kubernetes' names.
type Resource struct{ Source }

var _ prometheus.Collector = Resource{}

// scrapeTimeout bounds how long the runtime may take.
const scrapeTimeout = 10 * time.Second

func description(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

var (
	podLabels       = []string{"namespace", "pod"}
	containerLabels = []string{"container", "namespace", "pod"}

	nodeCPU         = description("node_cpu_usage_seconds_total", "Cumulative cpu time consumed by the node in core-seconds")
	nodeMemory      = description("node_memory_working_set_bytes", "Current working set of the node in bytes")
	podCPU          = description("pod_cpu_usage_seconds_total", "Cumulative cpu time consumed by the pod in core-seconds", podLabels...)
	podMemory       = description("pod_memory_working_set_bytes", "Current working set of the pod in bytes", podLabels...)
	containerCPU    = description("container_cpu_usage_seconds_total", "Cumulative cpu time consumed by the container in core-seconds", containerLabels...)
	containerMemory = description("container_memory_working_set_bytes", "Current working set of the container in bytes", containerLabels...)
	containerStart  = description("container_start_time_seconds", "Start time of the container since unix epoch in seconds", containerLabels...)
	scrapeError     = description("resource_scrape_error", "1 if there was an error while getting container metrics, 0 otherwise")
)

// Describe names the metrics.
func (r Resource) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{nodeCPU, nodeMemory, podCPU, podMemory, containerCPU, containerMemory, containerStart, scrapeError} {
		out <- d
	}
}

// Collect asks the runtime now.
func (r Resource) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	summary, err := r.Summary(ctx)
	failed := 0.0
	if err != nil {
		failed, summary = 1, &statsv1.Summary{Node: r.node()}
	}
	out <- prometheus.MustNewConstMetric(scrapeError, prometheus.GaugeValue, failed)
	usage(out, nodeCPU, nodeMemory, summary.Node.CPU, summary.Node.Memory)
	for i := range summary.Pods {
		p := &summary.Pods[i]
		usage(out, podCPU, podMemory, p.CPU, p.Memory, p.PodRef.Namespace, p.PodRef.Name)
		for j := range p.Containers {
			c := &p.Containers[j]
			usage(out, containerCPU, containerMemory, c.CPU, c.Memory, c.Name, p.PodRef.Namespace, p.PodRef.Name)
			if started := r.StartOf(p.PodRef.UID, c.Name); !started.IsZero() {
				out <- prometheus.MustNewConstMetric(containerStart, prometheus.GaugeValue, float64(started.UnixNano())/float64(time.Second),
					c.Name, p.PodRef.Namespace, p.PodRef.Name)
			}
		}
	}
}

// usage reports processor time and memory with the times of their measurement.
func usage(out chan<- prometheus.Metric, ofCPU, ofMemory *prometheus.Desc, c *statsv1.CPUStats, m *statsv1.MemoryStats, labels ...string) {
	if c != nil && c.UsageCoreNanoSeconds != nil {
		out <- prometheus.NewMetricWithTimestamp(c.Time.Time,
			prometheus.MustNewConstMetric(ofCPU, prometheus.CounterValue, float64(*c.UsageCoreNanoSeconds)/float64(time.Second), labels...))
	}
	if m != nil && m.WorkingSetBytes != nil {
		out <- prometheus.NewMetricWithTimestamp(m.Time.Time,
			prometheus.MustNewConstMetric(ofMemory, prometheus.GaugeValue, float64(*m.WorkingSetBytes), labels...))
	}
}
