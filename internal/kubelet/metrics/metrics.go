// SPDX-License-Identifier: Apache-2.0

// Package metrics counts what the kubelet does, in the names that dashboards know, on a registry of its own.
package metrics

import (
	"context"
	"net/http"
	"path"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"google.golang.org/grpc"
	corev1 "k8s.io/api/core/v1"
)

// Counts are the numbers of things that run now.
type Counts struct {
	Pods       int
	Containers map[string]int // by state: created, running, exited, unknown
}

// Metrics is one kubelet's registry. Safe for concurrent use.
type Metrics struct {
	registry   *prometheus.Registry
	operations *prometheus.CounterVec
	failures   *prometheus.CounterVec
	durations  *prometheus.HistogramVec
	preempted  *prometheus.CounterVec
}

// New makes the registry of the node. counts is asked at each scrape.
func New(node string, counts func() Counts) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		operations: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kubelet_runtime_operations_total",
			Help: "Cumulative number of runtime operations by operation type."}, []string{"operation_type"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kubelet_runtime_operations_errors_total",
			Help: "Cumulative number of runtime operation errors by operation type."}, []string{"operation_type"}),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "kubelet_runtime_operations_duration_seconds",
			Help: "Duration in seconds of runtime operations.", Buckets: prometheus.ExponentialBuckets(.001, 2.5, 12)}, []string{"operation_type"}),
	}
	m.preempted = prometheus.NewCounterVec(prometheus.CounterOpts{Name: "kubelet_preemptions",
		Help: "Cumulative number of pod preemptions by preemption resource."}, []string{"preemption_signal"})
	name := prometheus.NewGauge(prometheus.GaugeOpts{Name: "kubelet_node_name", Help: "The node's name. The count is always 1.",
		ConstLabels: prometheus.Labels{"node": node}})
	name.Set(1)
	m.registry.MustRegister(m.operations, m.failures, m.durations, m.preempted, name, running{counts},
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Handler serves the registry as text.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// Serve serves one collector alone.
func Serve(c prometheus.Collector) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(c)
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
}

// Intercept counts each call to the runtime.
func (m *Metrics) Intercept(ctx context.Context, method string, request, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
	begin, operation := time.Now(), path.Base(method)
	err := invoke(ctx, method, request, reply, conn, options...)
	m.operations.WithLabelValues(operation).Inc()
	m.durations.WithLabelValues(operation).Observe(time.Since(begin).Seconds())
	if err != nil {
		m.failures.WithLabelValues(operation).Inc()
	}
	return err
}

// Preempted counts pods that end so that a critical one gets a resource.
func (m *Metrics) Preempted(missing corev1.ResourceName, pods int) {
	m.preempted.WithLabelValues(string(missing)).Add(float64(pods))
}

// running reports the counts at each scrape.
type running struct{ counts func() Counts }

var _ prometheus.Collector = running{}

var (
	podsDesc       = prometheus.NewDesc("kubelet_running_pods", "Number of pods that have a running pod sandbox", nil, nil)
	containersDesc = prometheus.NewDesc("kubelet_running_containers", "Number of containers by state", []string{"container_state"}, nil)
)

// Describe names the metrics.
func (r running) Describe(out chan<- *prometheus.Desc) {
	out <- podsDesc
	out <- containersDesc
}

// Collect counts now.
func (r running) Collect(out chan<- prometheus.Metric) {
	c := r.counts()
	out <- prometheus.MustNewConstMetric(podsDesc, prometheus.GaugeValue, float64(c.Pods))
	for state, n := range c.Containers {
		out <- prometheus.MustNewConstMetric(containersDesc, prometheus.GaugeValue, float64(n), state)
	}
}
